"""Pixels that are none of a segmenter's classes."""

from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.segment import SegmentHead
from exporter.heads.segment_rest import require_background, require_maps_of_their_own

LABELS = ("cat", "dog")
UNLIKELY = [np.array([[[[0.1, 0.2, 0.9]], [[0.3, 0.4, 0.8]]]], np.float32)]
LIKELY = [np.array([[[[0.1, 0.6, 0.9]], [[0.3, 0.4, 0.8]]]], np.float32)]
SUM_TO_ONE = [np.array([[[[0.4, 0.2]], [[0.3, 0.4]], [[0.3, 0.4]]]], np.float32)]


def head(channels: int = 2, **fields: Any) -> SegmentHead:
    return SegmentHead(channels, (1, 3), **{"activation": "none", **fields})


def test_maps_that_leave_most_pixels_without_a_class_need_the_background_s_label() -> None:
    with pytest.raises(RecipeError, match=r"in 67% of the pixels.*background's label first"):
        require_background(head(), UNLIKELY, LABELS, None)


def test_logits_count_by_their_activation() -> None:
    logits = [np.log(one / (1 - one)) for one in UNLIKELY]
    with pytest.raises(RecipeError, match="67%"):
        require_background(head(activation="sigmoid", stated="sigmoid"), logits, LABELS, None)


@pytest.mark.parametrize(
    ("segmenter", "maps", "labels", "background_id"),
    [
        (head(), LIKELY, LABELS, None),
        (head(), UNLIKELY, ("cat", "Background"), None),
        (head(), UNLIKELY, LABELS, 1),
        (head(stated="none"), UNLIKELY, LABELS, None),
        (head(has_rest=True), UNLIKELY, ("no", *LABELS), None),
        (head(channels=1), [one[:, :1] for one in UNLIKELY], LABELS, None),
        (head(channels=3), SUM_TO_ONE, ("a", "b", "c"), None),
    ],
)
def test_others_need_none(
    segmenter: SegmentHead,
    maps: list[np.ndarray],
    labels: tuple[str, ...],
    background_id: int | None,
) -> None:
    require_background(segmenter, maps, labels, background_id)


@pytest.mark.parametrize(
    ("stated", "kind", "maps", "words"),
    [
        (None, "logits", UNLIKELY, "--activation sigmoid"),
        (None, "softmax", SUM_TO_ONE, "4 are given, the network has 3 classes"),
        ("none", "softmax", SUM_TO_ONE, "4 are given, the network has 3 classes"),
        ("softmax", "logits", UNLIKELY, "--activation sigmoid"),
    ],
)
def test_a_label_more_than_maps_needs_probabilities_of_their_own(
    stated: Any, kind: Any, maps: list[np.ndarray], words: str
) -> None:
    segmenter = head(channels=maps[0].shape[1], stated=stated, has_rest=True)
    with pytest.raises(RecipeError, match=words):
        require_maps_of_their_own(segmenter, kind, maps)


@pytest.mark.parametrize(
    ("stated", "kind"), [(None, "sigmoid"), ("none", "bounded"), ("sigmoid", "logits")]
)
def test_probabilities_of_their_own_may_have_a_label_more(stated: Any, kind: Any) -> None:
    require_maps_of_their_own(head(stated=stated, has_rest=True), kind, UNLIKELY)
