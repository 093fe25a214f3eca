"""Non-maximum suppression in NumPy, on the few hundred boxes that a graph returns."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.heads.boxes import iou

Suppression = Literal["per_class", "agnostic", "none", "soft"]
SOFT_SIGMA = 0.5
"""Bodla et al. 2017, arXiv:1704.04503, section 3."""

Floats = NDArray[np.float32]


def suppress(
    boxes: Floats,
    scores: Floats,
    classes: NDArray[np.int32],
    *,
    iou_threshold: float,
    mode: Suppression,
) -> tuple[NDArray[np.intp], Floats]:
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

    Returns:
        The indices of the kept boxes, intp (K,), and their scores, float32 (K,).
    """
    order = np.argsort(-scores, kind="stable")
    if mode == "none" or not len(order):
        return order, scores[order]
    overlap = iou(boxes[order], boxes[order])
    if mode != "agnostic":
        ranked = classes[order]
        overlap = np.where(ranked[:, None] == ranked[None, :], overlap, np.float32(0))
    if mode == "soft":
        kept, lowered = _decay(overlap, scores[order])
        return order[kept], lowered
    kept = _greedy(overlap > iou_threshold)
    return order[kept], scores[order][kept]


def _greedy(overlaps: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Go through the boxes from the best on; each that is still kept drops the worse ones that it overlaps."""
    kept = np.ones(len(overlaps), bool)
    for rank in range(len(overlaps)):
        if kept[rank]:
            kept[rank + 1 :] &= ~overlaps[rank, rank + 1 :]
    return np.flatnonzero(kept)


def _decay(overlap: Floats, scores: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Take the best remaining box, lower its neighbors by exp(-IoU²/sigma), and repeat; return the order taken."""
    remaining = scores.astype(np.float32, copy=True)
    weights = np.exp(-(overlap**2) / SOFT_SIGMA).astype(np.float32)
    taken = np.empty(len(scores), np.intp)
    final = np.empty(len(scores), np.float32)
    for rank in range(len(scores)):
        best = int(np.argmax(remaining))
        taken[rank], final[rank] = best, remaining[best]
        remaining *= weights[best]
        remaining[taken[: rank + 1]] = -1.0
    return taken, final
