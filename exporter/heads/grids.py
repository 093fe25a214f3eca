"""The grids of cells over the image on which one-stage detectors have their boxes, row by row."""

from collections.abc import Sequence
from math import ceil

from service.card import ImageInput

STRIDES = (
    (8, 16, 32),
    (8, 16, 32, 64),
    (4, 8, 16, 32),
    (16, 32),
    (32,),
    (8, 16, 32, 64, 128),
    (4, 8, 16, 32, 64),
    (4, 8, 16),
    (16, 32, 64),
    (8, 16),
)
"""The strides of the grids of one-stage detectors, the most usual first."""

EVERY_GRID = (*STRIDES, (8,), (16,), (4,))
"""Grids that boxes are read by where they follow them; that they do not follow a single one of these shows nothing, if
they are in a unit."""

MAP_STRIDES = (2, 4, 8, 16, 32, 64, 128)
"""The strides of a single map over the image, as a raw head is."""

MOST_A_CELL = 9
"""The largest number of boxes, or anchors, for one cell; RetinaNet has nine."""


def grid_size(stride: int, image_input: ImageInput) -> tuple[int, int]:
    """Return the rows and columns of the grid whose cells have this side, in pixels."""
    return ceil(image_input.height / stride), ceil(image_input.width / stride)


def cell_count(strides: Sequence[int], image_input: ImageInput) -> int:
    """Return how many cells the grids of these strides have together."""
    sizes = (grid_size(stride, image_input) for stride in strides)
    return sum(rows * columns for rows, columns in sizes)


def grid_strides(anchors: int, image_input: ImageInput) -> tuple[int, ...] | None:
    """Return the strides of the grids that together have this number of cells, None where no usual ones do."""
    return next((one for one in STRIDES if cell_count(one, image_input) == anchors), None)
