"""How much two sets of outputs differ, for every task.

IoU and suppression are written here independently of the service's: a proof that used the code it proves would repeat
its faults.
"""

import numpy as np
from numpy.typing import NDArray

from exporter.network import Array

MATCH_IOU = 0.5
SMALLEST_SCALE = 1e-6


def relative_difference(found: Array, expected: Array) -> float:
    """Return the largest difference as a share of the largest absolute expected value.

    Networks compute values of very different sizes, and float32 is exact to a number of digits, not to a number of
    decimals. The difference of a value that is no number is infinite.
    """
    if not expected.size:
        return 0.0
    scale = max(SMALLEST_SCALE, float(np.abs(expected).max()))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        largest = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    return largest if np.isfinite(largest) else float("inf")


def absolute_difference(found: Array, expected: Array) -> float:
    """Return the largest difference of values in 0–1; that of a value that is no number is infinite."""
    if not expected.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        largest = float(np.abs(found.astype(np.float64) - expected).max())
    return largest if np.isfinite(largest) else float("inf")


def mask_iou(found: Array, expected: Array) -> float:
    """Return the mean IoU over the classes that occur in at least one of the masks (H, W)."""
    classes = np.union1d(found, expected)
    pairs = [(found == one, expected == one) for one in classes]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def resize_bilinear(maps: Array, size: tuple[int, int]) -> Array:
    """Return maps (N, C, h, w) enlarged to (N, C, H, W); pixel centers lie at halves, edges are repeated."""
    rows, columns = _weights(maps.shape[2], size[0]), _weights(maps.shape[3], size[1])
    large: Array = np.einsum("Hh,nchw,Ww->ncHW", rows, maps, columns, optimize=True)
    return large.astype(maps.dtype)


def iou_matrix(boxes: Array, others: Array) -> Array:
    """Return the IoU of each box (A, 4) with each of others (B, 4), xyxy: (A, B).

    The service computes IoU for its own suppression. This one shares no code with it: a proof must not use the code
    that it judges.
    """
    # Column by column: a reduction over an axis of two is several times slower.
    left, top, right, bottom = boxes.T[:, :, None]
    other_left, other_top, other_right, other_bottom = others.T[:, None, :]
    width = np.minimum(right, other_right) - np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    area, other_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    union = area[:, None] + other_area[None] - common
    ious: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ious


def inside_frame(boxes: Array) -> Array:
    """Return xyxy boxes (…, 4) in 0–1 of the frame without what reaches beyond it."""
    cut: Array = np.clip(boxes, 0, 1)
    return cut


def suppress(
    boxes: Array, scores: Array, classes: Array, iou: float, most: int | None = None
) -> NDArray[np.int64]:
    """Return the indices that greedy non-maximum suppression within each class keeps, int64, best first.

    With `most` it ends when so many are kept.
    """
    order = np.argsort(-scores, kind="stable")
    # A box has rivals in its own class alone: with 80 classes that is an eightieth of all pairs.
    rivals = {kind: order[classes[order] == kind] for kind in np.unique(classes)}
    alive = np.ones(len(scores), bool)
    kept: list[int] = []
    for best in order:
        if most is not None and len(kept) >= most:
            break
        if not alive[best]:
            continue
        kept.append(int(best))
        left = rivals[classes[best]]
        left = left[alive[left]]
        alive[left[iou_matrix(boxes[left], boxes[best : best + 1])[:, 0] > iou]] = False
        alive[best] = False
        rivals[classes[best]] = left[alive[left]]
    return np.array(kept, np.int64)


def average_precision(
    found: tuple[Array, Array],
    expected: Array,
    expected_scores: Array | None = None,
    tolerance: float = 1.0,
) -> float:
    """Return the area under precision over recall of boxes of one class at IoU 0.5.

    Each box is matched with the best expected one that is not matched yet. Precision is made monotonic, as in PASCAL
    VOC 2010 (Everingham et al.).

    Args:
        found: boxes (A, 4) and scores (A,).
        expected: the true boxes (B, 4), B > 0.
        expected_scores: their scores (B,); only boxes whose score differs by at most `tolerance` match.
        tolerance: see above.
    """
    boxes, scores = found
    order = np.argsort(-scores, kind="stable")
    ious = iou_matrix(boxes[order], expected)
    if expected_scores is not None:
        ious[np.abs(scores[order][:, None] - expected_scores[None]) > tolerance] = 0
    right = np.zeros(len(boxes))
    for index, row in enumerate(ious):
        best = int(row.argmax())
        if row[best] >= MATCH_IOU:
            right[index] = 1
            ious[:, best] = 0
    reached = right.cumsum()
    precision = reached / np.arange(1, len(boxes) + 1)
    monotonic = np.maximum.accumulate(precision[::-1])[::-1]
    return float((monotonic * right).sum() / len(expected))


def _weights(small: int, large: int) -> Array:
    """Return the matrix (large, small) of linear interpolation."""
    at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, small - 1)
    matrix = np.zeros((large, small), np.float32)
    np.add.at(matrix, (np.arange(large), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(large), high), at - low)
    return matrix
