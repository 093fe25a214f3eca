"""Non-maximum suppression in NumPy, on the boxes that a graph returns: at most a few thousand."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.card import Card
from service.heads.boxes import iou

Suppression = Literal["per_class", "agnostic", "none", "soft"]
SOFT_SIGMA = 0.5
"""Bodla et al. 2017, arXiv:1704.04503, section 3."""

BLOCK = 64
"""So many of the best boxes are compared with all others at once. In a crowd each of them drops several others, so
that few comparisons are left for the next block."""

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


def default_suppression(card: Card) -> Suppression:
    """Return what is applied where a request does not state it: nothing where the network gives each object one box."""
    return "none" if card.nms_free else "per_class"


def suppress(
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
    *,
    iou_threshold: float,
    mode: Suppression,
    least_score: float = 0.0,
) -> tuple[Indices, Floats]:
    """Return which boxes are kept, best first, and their scores.

    `per_class`, `agnostic`: a box is dropped where its IoU with a better box that is kept is over `iou_threshold`;
    `per_class` compares boxes of one class only, `agnostic` compares all. `none` keeps every box. `soft` keeps every
    box and lowers the scores of boxes that overlap a better one of their class (Gaussian soft-NMS, Bodla et al. 2017,
    arXiv:1704.04503); `iou_threshold` has no effect on it.

    Args:
        boxes: float32 (D, 4), xyxy in any one frame.
        scores: float32 (D,).
        classes: int32 (D,).
        iou_threshold: 0 to 1.
        mode: see above.
        least_score: `soft` ends where all remaining scores are lower.

    Returns:
        The indices of the kept boxes, intp (K,), and their scores, float32 (K,).
    """
    order = np.argsort(-scores, kind="stable")
    if mode == "none" or not len(order):
        return order, scores[order]
    if mode == "soft":
        parts = [_decay(boxes, scores, ranks, least_score) for ranks in _by_class(order, classes)]
        kept, final = (np.concatenate(same) for same in zip(*parts, strict=True))
        best_first = np.argsort(-final, kind="stable")
        return kept[best_first], final[best_first]
    groups = [order] if mode == "agnostic" else _by_class(order, classes)
    stays = np.zeros(len(order), bool)
    for ranks in groups:
        stays[_greedy(boxes, ranks, iou_threshold)] = True
    kept = order[stays[order]]
    return kept, scores[kept]


def _by_class(order: Indices, classes: NDArray[np.int32]) -> list[Indices]:
    """Return the sorted boxes of each class."""
    ranked = classes[order]
    if (ranked == ranked[0]).all():
        return [order]
    grouped = np.argsort(ranked, kind="stable")
    ends = np.flatnonzero(np.diff(ranked[grouped])) + 1
    return np.split(order[grouped], ends)


def _greedy(boxes: Floats, left: Indices, iou_threshold: float) -> Indices:
    """Go through sorted boxes; each that is still kept drops the worse ones that it overlaps."""
    kept = []
    while len(left):
        best, rest = left[:BLOCK], left[BLOCK:]
        overlaps = iou(boxes[best], boxes[best]) > iou_threshold
        stays = np.ones(len(best), bool)
        for rank in range(len(best)):
            if stays[rank]:
                stays[rank + 1 :] &= ~overlaps[rank, rank + 1 :]
        best = best[stays]
        kept.append(best)
        if len(rest):
            rest = rest[~(iou(boxes[best], boxes[rest]) > iou_threshold).any(axis=0)]
        left = rest
    return np.concatenate(kept)


def _decay(
    boxes: Floats, scores: Floats, left: Indices, least_score: float
) -> tuple[Indices, Floats]:
    """Take the best remaining box, lower its neighbors by exp(-IoU²/sigma), and repeat; return the order taken."""
    boxes = boxes[left]
    remaining = scores[left].astype(np.float32)
    taken, final = [], []
    for _ in range(len(left)):
        best = int(np.argmax(remaining))
        if remaining[best] < least_score:
            break
        taken.append(best)
        final.append(remaining[best])
        overlap = iou(boxes[best : best + 1], boxes)[0]
        remaining *= np.exp(-(overlap**2) / SOFT_SIGMA).astype(np.float32)
        remaining[best] = -np.inf
    return left[taken], np.array(final, np.float32)
