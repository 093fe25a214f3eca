"""Boxes beside true boxes → mean average precision as COCO defines it (https://cocodataset.org/#detection-eval).

Written after the definition; the tests compare it with pycocotools.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.labeled.scores import Scores

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST_BOXES = 100
"""The boxes of a class in an image that count at most, the best ones."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one image: xyxy (B, 4) in pixels, class ids (B,), and scores (B,) or, of true boxes, crowds (B,)."""

    xyxy: Floats
    classes: NDArray[np.int64]
    scores: Floats
    crowds: NDArray[np.bool_]


def box_scores(found: Sequence[Boxes], truth: Sequence[Boxes]) -> Scores:
    """Return mAP over IoU 0.5 to 0.95 (`map`) and at 0.5 (`map50`), and both for each class that is true somewhere.

    Args:
        found: the detections of each image.
        truth: the true boxes of each image.
    """
    present = sorted({int(kind) for one in truth for kind in one.classes[~one.crowds]})
    precisions = {kind: _of_class(kind, found, truth) for kind in present}
    by_class = {
        kind: {"map": float(each.mean()), "map50": float(each[0])}
        for kind, each in precisions.items()
    }
    total = {
        name: float(np.mean([one[name] for one in by_class.values()])) if by_class else 0.0
        for name in ("map", "map50")
    }
    return Scores(total, by_class)


def _of_class(kind: int, found: Sequence[Boxes], truth: Sequence[Boxes]) -> Floats:
    """Return the average precision of one class at each IoU threshold, (T,)."""
    scores, right, counted, objects = [], [], [], 0
    for mine, true in zip(found, truth, strict=True):
        of_kind = np.flatnonzero(mine.classes == kind)
        best = of_kind[np.argsort(-mine.scores[of_kind], kind="stable")][:MOST_BOXES]
        is_true = true.classes == kind
        crowds = true.crowds[is_true]
        ious = _ious(mine.xyxy[best], true.xyxy[is_true], crowds)
        matched = [_matched(ious, crowds, threshold) for threshold in THRESHOLDS]
        scores.append(mine.scores[best])
        right.append(np.array([one == _RIGHT for one in matched]))
        counted.append(np.array([one != _IGNORED for one in matched]))
        objects += int((~crowds).sum())
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits, counts = (np.concatenate(one, axis=1)[:, order] for one in (right, counted))
    return np.array([_area(hit, count, objects) for hit, count in zip(hits, counts, strict=True)])


_WRONG, _RIGHT, _IGNORED = 0, 1, 2


def _matched(ious: Floats, crowds: NDArray[np.bool_], threshold: float) -> NDArray[np.int64]:
    """Return what becomes of each detection, best first: right, wrong or, inside a crowd, ignored; (D,).

    Each takes the true box with the largest IoU that none has taken; a crowd is never taken.
    """
    result = np.full(len(ious), _WRONG)
    free = np.ones(len(crowds), bool)
    for index in np.flatnonzero((ious >= threshold).any(axis=1)) if len(crowds) else ():
        able = ious[index] >= min(threshold, 1 - 1e-10)
        single = np.flatnonzero(able & free & ~crowds)
        if len(single):
            # Of equal ones the last, as pycocotools does.
            free[single[::-1][ious[index][single[::-1]].argmax()]] = False
            result[index] = _RIGHT
        elif (able & crowds).any():
            result[index] = _IGNORED
    return result


def _ious(boxes: Floats, true: Floats, crowds: NDArray[np.bool_]) -> Floats:
    """Return the IoU of each box (D, 4) with each true one (G, 4); with a crowd, the share of the box inside it.

    Neither the service's IoU nor that of the exporter's proof is used here: the accuracy judges boxes that the
    service's suppression kept, and a measure must not use the code that it judges.
    """
    low = np.maximum(boxes[:, None, :2], true[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], true[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area, true_area = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (boxes, true))
    whole = np.where(crowds[None], area[:, None], area[:, None] + true_area[None] - common)
    ious: Floats = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return ious


def _area(hits: NDArray[np.bool_], counted: NDArray[np.bool_], objects: int) -> float:
    """Return the mean precision at 101 recalls, each the best at this recall or a larger one."""
    reached = (hits & counted).cumsum()
    answers = counted.cumsum()
    recall = reached / objects
    precision = reached / np.maximum(answers, 1)
    monotonic = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(monotonic, 0.0)[np.minimum(at, len(monotonic))].mean())
