"""Non-maximum suppression in NumPy, on the few hundred boxes that a graph hands out."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Suppression = Literal["per_class", "agnostic", "none", "soft"]
SOFT_SIGMA = 0.5
"""Bodla et al. 2017, arXiv:1704.04503, section 3."""

Floats = NDArray[np.float32]


def iou_matrix(boxes: Floats) -> Floats:
    """Return the intersection over union of every pair: float32 (D, 4) xyxy → (D, D); 0 where both are empty."""
    area = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    corner_min = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    corner_max = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(corner_max - corner_min, 0, None), axis=2)
    union = area[:, None] + area[None, :] - shared
    ratio: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def suppress(
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
    *,
    iou_threshold: float,
    mode: Suppression,
) -> tuple[NDArray[np.intp], Floats]:
    """Return which boxes stay, best first, and their scores.

    Greedy: a box stays unless it overlaps a better one that stays by more than `iou_threshold`; `per_class` compares
    boxes of one class only, `agnostic` all, `none` keeps every box. `soft` (Bodla et al. 2017, Gaussian, per class)
    drops none and lowers scores instead.

    Args:
        boxes: float32 (D, 4), xyxy in any one frame.
        scores: float32 (D,).
        classes: int32 (D,).
        iou_threshold: 0 to 1.
        mode: see above.
    """
    order = np.argsort(-scores, kind="stable")
    if mode == "none" or not len(order):
        return order, scores[order]
    overlap = iou_matrix(boxes[order])
    if mode != "agnostic":
        ranked = classes[order]
        overlap = np.where(ranked[:, None] == ranked[None, :], overlap, np.float32(0))
    if mode == "soft":
        kept, lowered = _decay(overlap, scores[order])
        return order[kept], lowered
    kept = _greedy(overlap > iou_threshold)
    return order[kept], scores[order][kept]


def _greedy(overlaps: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Walk down the ranks; each that stands strikes out those below that it overlaps."""
    standing = np.ones(len(overlaps), bool)
    for rank in range(len(overlaps)):
        if standing[rank]:
            standing[rank + 1 :] &= ~overlaps[rank, rank + 1 :]
    return np.flatnonzero(standing)


def _decay(overlap: Floats, scores: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Take the best that is left, lower its neighbors by exp(-IoU²/sigma), again and again; return the order taken."""
    left = scores.astype(np.float32, copy=True)
    weight = np.exp(-(overlap**2) / SOFT_SIGMA).astype(np.float32)
    taken = np.empty(len(scores), np.intp)
    final = np.empty(len(scores), np.float32)
    for place in range(len(scores)):
        best = int(np.argmax(left))
        taken[place], final[place] = best, left[best]
        left *= weight[best]
        left[taken[: place + 1]] = -1.0
    return taken, final
