"""Two results of the same image, from two versions of a model: do they say the same?"""

from collections import Counter

import numpy as np

from service.heads.classify import Classification
from service.heads.detect import DetectResult
from service.heads.embed import Embedding
from service.heads.segment import SegmentResult

SMALL_FRACTION = 0.01
"""Areas below this share of the image are not compared."""
CLOSE_FRACTION = 0.05
"""Areas of a class agree when their shares of the image differ by no more."""
CLOSE_COSINE = 0.99


def same_class(one: Classification, other: Classification) -> bool:
    """Return whether the best class is the same."""
    return [each["label"] for each in one["predictions"][:1]] == [
        each["label"] for each in other["predictions"][:1]
    ]


def same_things(one: DetectResult, other: DetectResult) -> bool:
    """Return whether as many things of each class were found."""
    return Counter(each["label"] for each in one["detections"]) == Counter(
        each["label"] for each in other["detections"]
    )


def same_areas(one: SegmentResult, other: SegmentResult) -> bool:
    """Return whether each class covers about the same share of the image."""
    shares = [
        {each["label"]: each["fraction"] for each in all_["segments"]} for all_ in (one, other)
    ]
    return all(
        abs(shares[0].get(label, 0.0) - shares[1].get(label, 0.0)) <= CLOSE_FRACTION
        and (
            min(share.get(label, 0.0) for share in shares) > 0
            or max(share.get(label, 0.0) for share in shares) < SMALL_FRACTION
        )
        for label in shares[0].keys() | shares[1].keys()
    )


def same_direction(one: Embedding, other: Embedding) -> bool:
    """Return whether the vectors, of length one, point the same way."""
    first, second = np.asarray(one["embedding"]), np.asarray(other["embedding"])
    return first.shape == second.shape and float(first @ second) >= CLOSE_COSINE
