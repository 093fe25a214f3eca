"""What the numbers of a dense detector's boxes are, by the grid that its boxes lie on.

A one-stage detector gives one box, or a few, for each cell of its grids, row by row. Most boxes lie near their cells,
with trained weights as with random ones. So a number that follows the columns of the grid is an x, one that follows
the rows is a y, and one that follows neither is a size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exporter.heads.boxes import EXCHANGED_ORDER
from exporter.heads.grids import EVERY_GRID, MOST_A_CELL, STRIDES, grid_size
from exporter.network import Array
from service.card import ImageInput

Form = Literal["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw"]

Unit = Literal["frame", "pixel"]

FOLLOWS = 0.8
"""A number follows an axis of the grid if their correlation is at least this."""

SOMEWHAT = 0.4
"""Boxes on a grid have a number that is correlated with an axis by more, also where large objects have many of them."""

IGNORES = 0.5
"""It does not follow the other axis, and a size follows neither, if their correlation is at most this."""

FEWEST = 20
"""Fewer boxes show no grid."""

_NEAR = (0.75, 1.3)
"""How far a slope may be from that of a unit: boxes of large objects lie beside their cells."""

TOO_MUCH = 1.5
"""Numbers that rise faster from cell to cell than this, as shares of a unit, are not in it."""

MUCH_LESS = 0.3
"""Numbers that rise this slowly are no pixels."""

EVEN = 1.25
"""Rises in x and y, as shares of the frame, that differ by no more than this factor are in one unit."""

CONTAINED = 0.7
"""So many boxes, at least, contain the middle of their own cell; anchors that are smaller than a cell may not."""

CLEARLY = 0.25
"""Read as what they are not, fewer boxes do, by at least this share."""

MIDDLE = 0.2
"""The middle of a cell is not further than this share of the size from the middle of the boxes, by their median."""

BEGINS = 0.4
"""The points of boxes move to the upper left as these grow: their correlation is at most minus this, in x and y."""

FRAME = 2.0
"""Coordinates in 0–1 of the frame are hardly ever larger, and coordinates in pixels hardly ever all smaller."""


@dataclass(frozen=True, slots=True)
class GridReading:
    """What a grid shows of boxes, None where it does not.

    Where it shows a point and a size, and not whether the point is the center or a corner, `could_be` has both forms.
    `too_large` is the factor by which the numbers exceed a unit, where they are in none. `odd_order` is what the four
    numbers are where no format has this order: x and y for a number that follows an axis, s for a size; X and Y for one
    that is counted from the other side.
    """

    form: Form | None
    unit: Unit | None
    could_be: tuple[Form, ...] = ()
    too_large: tuple[float, Unit] | None = None
    odd_order: str = ""


def read_grid(boxes: Array, image_input: ImageInput) -> GridReading | None:
    """Return what the grid shows of boxes (I, A, 4) on several images, None where they do not lie on one."""
    mean = boxes.astype(np.float64).mean(axis=0)
    found = _best_grid(mean, image_input, EVERY_GRID)
    if found is None:
        return None
    ties, grid = found
    axes = "".join(_axis(*column) for column in ties.T)
    unit = _unit(grid, mean, axes, image_input)
    too_large = None if unit else _excess(grid, mean, axes, image_input)
    match axes:
        case "xyxy" | "yxyx":
            return GridReading(axes, unit, too_large=too_large)
        case "xyss" | "yxss":
            could_be = _POINT_AND_SIZE[axes]
            x_first = boxes if axes == "xyss" else boxes[..., list(EXCHANGED_ORDER)]
            form = _of_point(grid, x_first, image_input, could_be)
            return GridReading(form, unit, () if form else could_be, too_large)
    is_order = sorted(axes.lower()) in (sorted("xyxy"), sorted("xyss")) and _has_one_side(axes)
    return GridReading(None, unit, odd_order=axes) if is_order else None


def follows_no_grid(
    boxes: Array,
    image_input: ImageInput,
    *,
    fewest_levels: int = 1,
    grids: tuple[tuple[int, ...], ...] = STRIDES,
) -> bool:
    """Return whether there are as many boxes (I, A, 4) as a grid has, and their numbers do not follow it.

    They follow it as the distances to the sides of large objects do; or none follows one of its axes and none clearly
    the other; or some run against it. The last two count only on grids of so many strides: some queries may be as many
    as one or two grids have by chance.
    """
    found = _best_grid(boxes.astype(np.float64).mean(axis=0), image_input, grids)
    if found is None:
        return False
    ties, grid = found
    if _are_distances(ties):
        return True
    if grid.levels[-1] + 1 < fewest_levels:
        return False
    by_axis = ties.max(axis=1)
    is_against = float(ties.min()) <= -SOMEWHAT
    most, least = float(by_axis.max()), float(by_axis.min())
    return most < FOLLOWS and (is_against or least < SOMEWHAT)


def _are_distances(ties: Array) -> bool:
    """Return whether the first two numbers rise along the axes of the grid, and the last two fall along them."""
    return bool(min(ties[0, 0], ties[1, 1], -ties[0, 2], -ties[1, 3]) > IGNORES)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The middle of each box's cell (A, 2), as x and y in pixels, the number of its level (A,), and its side (A,)."""

    cells: Array
    levels: Array
    strides: Array

    def centered(self, values: Array) -> Array:
        """Return values (A, C) less the mean of their level, whose boxes have an offset of their own."""
        counts = np.bincount(self.levels)
        means = np.stack([np.bincount(self.levels, column) / counts for column in values.T], axis=1)
        apart: Array = values - means[self.levels]
        return apart


def _best_grid(
    mean: Array, image_input: ImageInput, usual: tuple[tuple[int, ...], ...] = STRIDES
) -> tuple[Array, _Grid] | None:
    """Return the grid that boxes (A, 4) follow most and their correlations with it.

    None where no grid has as many, or where the boxes are too few or not finite.
    """
    if len(mean) < FEWEST or not np.isfinite(mean).all():
        return None
    found = [(_correlations(grid, mean), grid) for grid in _layouts(len(mean), image_input, usual)]
    strengths = [float(np.sort(np.abs(ties).max(axis=0))[-2:].sum()) for ties, _ in found]
    return found[int(np.argmax(strengths))] if found else None


def _layouts(
    anchors: int, image_input: ImageInput, usual: tuple[tuple[int, ...], ...]
) -> Iterator[_Grid]:
    """Yield the grids, in each order in which boxes may lie on them."""
    for strides in usual:
        sizes = [grid_size(stride, image_input) for stride in strides]
        several, rest = divmod(anchors, sum(rows * columns for rows, columns in sizes))
        if rest or not 1 <= several <= MOST_A_CELL:
            continue
        levels = [_cells(*size, stride) for size, stride in zip(sizes, strides, strict=True)]
        for step in (1, -1)[: len(levels)]:
            ordered, sides = levels[::step], strides[::step]
            counts = [several * len(one) for one in ordered]
            number, side = np.repeat(np.arange(len(ordered)), counts), np.repeat(sides, counts)
            tiled = np.concatenate([np.tile(one, (several, 1)) for one in ordered])
            yield _Grid(tiled, number, side)
            if several > 1:
                beside = [np.repeat(one, several, axis=0) for one in ordered]
                yield _Grid(np.concatenate(beside), number, side)


def _cells(rows: int, columns: int, stride: int) -> Array:
    y, x = np.divmod(np.arange(rows * columns), columns)
    return (np.stack([x, y], axis=1) + 0.5) * stride


def _correlations(grid: _Grid, values: Array) -> Array:
    """Return the correlation of each number with x and y, (2, 4); 0 where one does not vary."""
    one, other = grid.centered(grid.cells), grid.centered(values)
    lengths = np.linalg.norm(one, axis=0)[:, None] * np.linalg.norm(other, axis=0)
    ties: Array = np.divide(one.T @ other, lengths, out=np.zeros((2, 4)), where=lengths > 1e-9)
    return ties


def _has_one_side(axes: str) -> bool:
    """Return whether each axis is counted from one side, and not both from the far one.

    Distances to the sides of a large object rise and fall. Offsets of boxes that are the same in all cells fall twice.
    """
    pairs = ("xX", "yY", "XY")
    return all(not set(pair) <= set(axes) for pair in pairs)


def _axis(with_x: float, with_y: float) -> str:
    """Return x or y for a number that follows one axis, X or Y for one that falls with it.

    s is one that may be a size, - any other.
    """
    if abs(with_x) >= FOLLOWS and abs(with_y) <= IGNORES:
        return "x" if with_x > 0 else "X"
    if abs(with_y) >= FOLLOWS and abs(with_x) <= IGNORES:
        return "y" if with_y > 0 else "Y"
    return "s" if max(abs(with_x), abs(with_y)) <= IGNORES else "-"


def _slopes(grid: _Grid, values: Array) -> Array:
    """Return how much each number rises with x and with y, (2, 4)."""
    cells = grid.centered(grid.cells)
    rise: Array = cells.T @ grid.centered(values) / np.square(cells).sum(axis=0)[:, None]
    return rise


_POINT_AND_SIZE: dict[str, tuple[Form, Form]] = {
    "xyss": ("cxcywh", "xywh"),
    "yxss": ("cycxhw", "yxhw"),
}
"""The form whose point is the center, and the one whose point is the upper left corner."""


def _of_point(
    grid: _Grid, boxes: Array, image_input: ImageInput, could_be: tuple[Form, ...]
) -> Form | None:
    """Return which of center and corner the point is, x first; None where neither is clear."""
    rows = boxes.astype(np.float64)
    if float(np.median(np.abs(rows[..., :2]))) <= FRAME:
        rows *= [image_input.width, image_input.height] * 2
    point, size = rows[..., :2], rows[..., 2:]
    around = _share_around(grid.cells, point - size / 2, size)
    behind = _share_around(grid.cells, point, size)
    if max(around, behind) < CONTAINED or abs(around - behind) < CLEARLY:
        return None
    if around > behind:
        return could_be[0]
    # A point at the corner of its cell is where an untrained YOLOX has its centers, and where a box as large as the
    # cell would begin.
    corners = grid.cells - grid.strides[:, None] / 2
    beside = np.abs(point - corners) <= grid.strides[:, None] / 2
    is_clear = float(beside.all(axis=-1).mean()) < CONTAINED and _begins_boxes(grid, point, size)
    return could_be[1] if is_clear else None


def _begins_boxes(grid: _Grid, point: Array, size: Array) -> bool:
    """Return whether points (I, A, 2) lie so that boxes of these sizes are around the middles of their cells.

    They lie further to the upper left where boxes are larger, and the cells are in the middle of the boxes. Centers
    that are moved by a constant, as an untrained layer's bias moves them, do neither.
    """
    strides = grid.strides[:, None]
    before, extent = (point - grid.cells) / strides, size / strides
    middles = np.median(before + extent / 2, axis=(0, 1)) / np.median(extent, axis=(0, 1))
    if float(np.abs(middles).max()) > MIDDLE:
        return False
    flat, sizes = before.reshape(-1, 2), extent.reshape(-1, 2)
    flat, sizes = flat - flat.mean(axis=0), sizes - sizes.mean(axis=0)
    lengths = np.linalg.norm(flat, axis=0) * np.linalg.norm(sizes, axis=0)
    ties = np.divide((flat * sizes).sum(axis=0), lengths, out=np.zeros(2), where=lengths > 1e-9)
    return float(ties.max()) <= -BEGINS


def _share_around(cells: Array, first: Array, size: Array) -> float:
    """Return the share of boxes (I, A) that contain the middle of their cell."""
    inside = (first <= cells) & (cells <= first + size)
    return float(inside.all(axis=-1).mean())


def _excess(
    grid: _Grid, mean: Array, axes: str, image_input: ImageInput
) -> tuple[float, Unit] | None:
    """Return how many times as large as in a unit the numbers are, None where they may be in one.

    Boxes of large objects rise less than their cells do, but never much more.
    """
    rises, sizes = _rises(grid, mean, axes, image_input)
    shares = rises * sizes
    if not len(rises) or rises.min() <= 0:
        return None
    factors: dict[Unit, float] = {"pixel": float(rises.mean()), "frame": float(shares.mean())}
    if float(rises.min()) > TOO_MUCH:
        is_square = float(np.ptp(rises)) <= float(np.ptp(shares / sizes.mean()))
        unit: Unit = "pixel" if is_square else "frame"
        return factors[unit], unit
    is_even = float(shares.max()) <= EVEN * float(shares.min())
    is_uneven = float(rises.max()) > TOO_MUCH * float(rises.min())
    is_small = float(rises.max()) <= MUCH_LESS
    if float(shares.min()) > TOO_MUCH and is_even and (is_uneven or is_small):
        return factors["frame"], "frame"
    return None


def _rises(grid: _Grid, mean: Array, axes: str, image_input: ImageInput) -> tuple[Array, Array]:
    """Return how much each number that follows an axis rises with a pixel, and the size of that axis in pixels."""
    of_axis = {"x": image_input.width, "y": image_input.height}
    slopes = _slopes(grid, mean)
    places = [(axis, at) for at, axis in enumerate(axes) if axis in of_axis]
    rises = [float(slopes["xy".index(axis), at]) for axis, at in places]
    return np.array(rises), np.array([of_axis[axis] for axis, _ in places])


def _unit(grid: _Grid, mean: Array, axes: str, image_input: ImageInput) -> Unit | None:
    """Return the unit by which the numbers rise from cell to cell."""
    rises, sizes = _rises(grid, mean, axes, image_input)
    low, high = _NEAR
    if all(low <= rise <= high for rise in rises):
        return "pixel"
    return "frame" if all(low <= share <= high for share in rises * sizes) else None
