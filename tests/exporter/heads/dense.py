"""Boxes of dense detectors, as untrained and as trained ones have them, in every form that is found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
FORMS = ("xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw")
OBJECTS = 8


def grid_cells(
    size: tuple[int, int], strides: Sequence[int] = (8, 16, 32)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return column and row of each cell (A, 2), level by level, and its stride (A, 1), for a height and width."""
    cells, sides = [], []
    for stride in strides:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        row, column = np.divmod(np.arange(rows * columns), columns)
        cells.append(np.stack([column, row], axis=1))
        sides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells), np.concatenate(sides)


def relative_to_cells(centers: NDArray[np.floating], size: tuple[int, int]) -> Boxes:
    """Return cxcywh in pixels (I, A, 4) as YOLOX gives it: offset from a cell and logarithm of the size, in strides."""
    cells, strides = grid_cells(size)
    in_strides = centers / strides
    return np.concatenate([in_strides[..., :2] - cells, np.log(in_strides[..., 2:])], axis=-1)


def dense_boxes(
    size: tuple[int, int],
    *,
    images: int = 6,
    trained: bool = False,
    strides: Sequence[int] = (8, 16, 32),
    a_cell: int = 1,
    inner: bool = False,
    extent: float = 1.0,
) -> Boxes:
    """Return xyxy in pixels (I, A, 4) of a frame of this height and width.

    Untrained boxes have nearly the same distances from their cells, those of YOLOv8. Trained ones lie in the frame,
    have distances of their own, and all cells inside of an object have its box. The boxes of a cell lie side by side
    with `inner`, else each level is repeated. `extent` makes boxes larger or smaller.
    """
    rng = np.random.default_rng(7)
    levels = []
    for stride in strides:
        level = np.concatenate(grid_cells(size, (stride,)), axis=1)
        levels.append(np.repeat(level, a_cell, axis=0) if inner else np.tile(level, (a_cell, 1)))
    cells, strides_of = np.split(np.concatenate(levels).astype(np.float64), [2], axis=1)
    middle: Boxes = (cells + 0.5) * strides_of
    found = []
    for _ in range(images):
        shape = (len(middle), 4)
        apart = rng.gamma(2, 1.5, shape).clip(0, 15) if trained else rng.normal(7.5, 1, shape)
        apart = apart * strides_of * extent
        boxes = np.concatenate([middle - apart[:, :2], middle + apart[:, 2:]], axis=1)
        if trained:
            boxes = np.clip(boxes, 0, np.array([size[1], size[0]] * 2))
            _add_objects(boxes, middle, size, rng)
        found.append(boxes)
    return np.stack(found)


def _add_objects(
    boxes: Boxes, middle: Boxes, size: tuple[int, int], rng: np.random.Generator
) -> None:
    frame = np.array([size[1], size[0]])
    for _ in range(OBJECTS):
        extent = rng.uniform(0.1, 0.6, 2) * frame
        first = rng.uniform(0, 1, 2) * (frame - extent)
        inside = ((middle > first) & (middle < first + extent)).all(axis=1)
        boxes[inside] = [*first, *(first + extent)]


def as_form(corners: Boxes, form: str, size: tuple[int, int] | None = None) -> Boxes:
    """Return xyxy boxes in another form; with the frame's height and width as shares of it."""
    unit = np.array([size[1], size[0]] * 2) if size else 1
    a, b, c, d = np.moveaxis(corners / unit, -1, 0)
    parts = {
        "xyxy": (a, b, c, d),
        "yxyx": (b, a, d, c),
        "xywh": (a, b, c - a, d - b),
        "cxcywh": ((a + c) / 2, (b + d) / 2, c - a, d - b),
        "yxhw": (b, a, d - b, c - a),
        "cycxhw": ((b + d) / 2, (a + c) / 2, d - b, c - a),
    }[form]
    return np.stack(parts, axis=-1)
