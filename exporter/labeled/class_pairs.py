"""The class that a true box or area has in the answer, whatever it is: pairs of the answered and the true class."""

from collections.abc import Sequence

import numpy as np

from exporter.heads.metrics import iou_matrix
from service.labeled.average_precision import Boxes

MATCHED = 0.5
"""From this IoU on a box is that of an object."""

Pairs = tuple[tuple[int, int], ...]


def box_pairs(found: Sequence[Boxes], truth: Sequence[Boxes]) -> Pairs:
    """Return the class of the best box on each true one, and the true class; without objects that none is on.

    Args:
        found: the detections of each image.
        truth: the true boxes of each image; crowds are no objects.
    """
    pairs = []
    for mine, true in zip(found, truth, strict=True):
        on = iou_matrix(true.xyxy, mine.xyxy) >= MATCHED
        for index in np.flatnonzero(on.any(axis=1) & ~true.crowds):
            best = np.where(on[index], mine.scores, -np.inf).argmax()
            pairs.append((int(mine.classes[best]), int(true.classes[index])))
    return tuple(pairs)
