"""The places where a channel is highest, and the part of the image that reaches each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.explain.grid_on_image import cells_on_image
from service.graph.receptive_field import ReceptiveField
from service.heads.boxes import CornersBox, corners
from service.heads.rounding import figure
from service.imaging.geometry import Box, Geometry

LEAST_SHARE = 1 / 8
"""A crop shows at least this share of the frame, so that one recognizes it; less only where the field is smaller."""
WORTH_SHOWING = 0.25
"""A peak is at least this share of the highest one."""
_TIE = 1e-3
"""The weight of the neighbors' mean, which decides between places of equal value, as those at a ReLU6's top."""


@with_config(ConfigDict(extra="forbid"))
class PatternFigures(TypedDict):
    """A place of a channel's map where it is high."""

    value: float
    row: int
    column: int
    box: Annotated[
        CornersBox, Field(description="What reaches the place, in pixels of the displayed image")
    ]
    thumbnail: NotRequired[
        Annotated[str, Field(description="The crop as a PNG in a `data:` URL; with `thumbnails`")]
    ]


@with_config(ConfigDict(extra="forbid"))
class FieldFigures(TypedDict):
    """A receptive field, in pixels of the network's frame."""

    height: Annotated[float | None, Field(description="Null where the whole image has influence")]
    width: Annotated[float | None, Field(description="Null where the whole image has influence")]
    effective: Annotated[
        float, Field(description="The side of the part that matters (Luo et al. 2016)")
    ]


@dataclass(frozen=True, slots=True)
class Peak:
    """A place where a map is highest; `box` is what reaches it, xyxy in pixels of the displayed image."""

    value: float
    row: int
    column: int
    box: Box

    def figures(self) -> PatternFigures:
        """Return the peak as JSON."""
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
    """Return the highest places of a map, highest first, so that no peak lies in another one's crop.

    Args:
        values: float32 (h, w).
        field: the receptive field of a place.
        geometry: where the frame lies on the image.
        frame: the frame's height and width.
        count: how many peaks at most; fewer where the rest of the map is low.
    """
    sides = _crop_sides(field, frame)
    reach = [
        side / size * places / 2
        for side, size, places in zip(sides, frame, values.shape, strict=True)
    ]
    on_image = cells_on_image(values.shape, geometry)
    left = np.where(on_image, values + _TIE * _neighborhood_mean(values), -np.inf)
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


def field_figures(field: ReceptiveField) -> FieldFigures:
    """Return a receptive field as JSON."""
    height, width = field.size or (None, None)
    return {
        "height": height,
        "width": width,
        "effective": figure(max(field.effective)),
    }


def _crop_sides(field: ReceptiveField, frame: Sequence[int]) -> list[float]:
    """Return the height and width of a crop, in pixels of the frame."""
    whole = field.size or (float("inf"), float("inf"))
    return [
        min(float(side), reaches, max(matters, side * LEAST_SHARE))
        for side, reaches, matters in zip(frame, whole, field.effective, strict=True)
    ]


def _neighborhood_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each place and its eight neighbors, float32 (h, w)."""
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
    """Return the crop around a place, moved so that it lies in the frame, in pixels of the displayed image."""
    spans = []
    for index, count, side, size in zip(place, places, sides, frame, strict=True):
        middle = (index + 0.5) / count * size
        begin = min(max(0.0, middle - side / 2), size - side)
        spans.append((begin / size, (begin + side) / size))
    (top, bottom), (left, right) = spans
    boxes = np.array([[left, top, right, bottom]], np.float32)
    x0, y0, x1, y1 = geometry.boxes_on_image(boxes)[0].tolist()
    return x0, y0, x1, y1
