"""Where a channel fires most, and what it sees there: the receptive fields around its peaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.graph.receptive_field import ReceptiveField
from service.heads.boxes import corners
from service.heads.rounding import figure
from service.imaging.geometry import Box, Geometry

LEAST_SHARE = 1 / 8
"""A crop shows at least this share of the frame, or all that the place sees where that is less: to be recognized."""

WORTH_SHOWING = 0.25
"""A peak is at least this share of the highest one."""
_TIE = 1e-3
"""Of places that fire alike, as those at a ReLU6's top, the one whose neighbors fire more goes first."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A place where a map is highest, and the part of the displayed image that it sees."""

    value: float
    row: int
    column: int
    box: Box

    def figures(self) -> dict[str, Any]:
        return {
            "value": figure(self.value),
            "row": self.row,
            "column": self.column,
            "box": corners(self.box),
        }


def find_peaks(
    values: NDArray[np.float32],
    field: ReceptiveField,
    geometry: Geometry,
    frame: Sequence[int],
    count: int,
) -> list[Peak]:
    """Return the highest places of a map, highest first, none inside another's crop; fewer where the map is low.

    Args:
        values: float32 (h, w).
        field: what a place sees.
        geometry: where the frame lies on the image.
        frame: its height and width.
        count: peaks at most.
    """
    sides = _crop_sides(field, frame)
    reach = [
        side / size * places / 2
        for side, size, places in zip(sides, frame, values.shape, strict=True)
    ]
    left = np.where(_on_image(values, geometry), values + _TIE * _around(values), -np.inf)
    rows, columns = np.indices(values.shape)
    peaks: list[Peak] = []
    floor = max(float(values.mean()), WORTH_SHOWING * float(values.max()))
    while len(peaks) < count:
        row, column = divmod(int(left.argmax()), values.shape[1])
        value = float(values[row, column])
        if not np.isfinite(left[row, column]) or value < floor:
            break
        box = _box((row, column), values.shape, sides, frame, geometry)
        peaks.append(Peak(value, row, column, box))
        near = (np.abs(rows - row) <= max(1.0, reach[0])) & (
            np.abs(columns - column) <= max(1.0, reach[1])
        )
        left[near] = -np.inf
    return peaks


def describe_field(field: ReceptiveField) -> dict[str, Any]:
    """Return the receptive field as JSON; null where the whole image is let in."""
    height, width = field.size or (None, None)
    return {
        "height": height,
        "width": width,
        "effective": figure(max(field.effective)),
    }


def _crop_sides(field: ReceptiveField, frame: Sequence[int]) -> list[float]:
    """Return the crop's height and width in pixels of the frame."""
    whole = field.size or (float("inf"), float("inf"))
    return [
        min(float(side), reaches, max(matters, side * LEAST_SHARE))
        for side, reaches, matters in zip(frame, whole, field.effective, strict=True)
    ]


def _on_image(values: NDArray[np.float32], geometry: Geometry) -> NDArray[np.bool_]:
    """Return which places lie on the image and not on a letterbox's padding."""
    left, top, right, bottom = geometry.region
    height, width = values.shape
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    x0, y0, x1, y1 = geometry.seen
    on: NDArray[np.bool_] = np.outer((y >= y0) & (y < y1), (x >= x0) & (x < x1))
    return on


def _around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each place and its eight neighbors."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, "edge"), (3, 3))
    mean: NDArray[np.float32] = windows.mean(axis=(2, 3))
    return mean


def _box(
    place: tuple[int, int],
    places: tuple[int, ...],
    sides: Sequence[float],
    frame: Sequence[int],
    geometry: Geometry,
) -> Box:
    spans = []
    for index, count, side, size in zip(place, places, sides, frame, strict=True):
        middle = (index + 0.5) / count * size
        begin = min(max(0.0, middle - side / 2), size - side)
        spans.append((begin / size, (begin + side) / size))
    (top, bottom), (left, right) = spans
    boxes = np.array([[left, top, right, bottom]], np.float32)
    x0, y0, x1, y1 = geometry.boxes_on_image(boxes)[0].tolist()
    return x0, y0, x1, y1
