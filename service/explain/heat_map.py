"""A heat map: how much each place of the network's frame contributes, and where that place lies on the image."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.explain.grid_on_image import cell_centers, cells_on_image
from service.heads.boxes import CornersBox, corners
from service.heads.rounding import figure, grid
from service.imaging.colormap import levels
from service.imaging.geometry import Box, Geometry
from service.imaging.masks import enlarge

SMALLEST_ENLARGED_SIDE = 224
"""A map is first interpolated to at least so many pixels a side, so that its drawing on the image is smooth."""


@with_config(ConfigDict(extra="forbid"))
class HeatFigures(TypedDict):
    """A heat map; `height` rows of `width` values over the network's frame."""

    height: int
    width: int
    values: Annotated[list[list[float]], Field(description="By rows, from the top")]
    low: Annotated[float, Field(description="Values up to this one are drawn cold")]
    high: Annotated[float, Field(description="Values from this one on are drawn hot")]
    box: Annotated[
        CornersBox,
        Field(description="The part of the displayed image that the map covers; may reach beyond"),
    ]


@with_config(ConfigDict(extra="forbid"))
class PeakFigures(TypedDict):
    """The center of the hottest cell on the image, in pixels of the image as displayed."""

    x: float
    y: float
    value: float


@dataclass(frozen=True, slots=True)
class Heat:
    """Values float32 (h, w) over the network's frame; `low` and below is drawn cold, `high` and above hot."""

    values: NDArray[np.float32]
    low: float
    high: float

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The heat as 0–255, uint8 (h, w)."""
        return levels(self.values, self.low, self.high)

    def on_frame(self, height: int, width: int) -> NDArray[np.float32]:
        """Return the heat interpolated to a frame's pixels, float32 (height, width)."""
        image = Image.fromarray(self.values)
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    def on_image(self, geometry: Geometry) -> NDArray[np.uint8]:
        """Return the heat as 0–255 at the displayed image's size, uint8; 0 where the frame did not reach."""
        side = max(*self.values.shape, SMALLEST_ENLARGED_SIDE)
        smooth = levels(self.on_frame(side, side), self.low, self.high)
        return enlarge(smooth, geometry)

    def figures(self, region: Box) -> HeatFigures:
        """Return the heat as JSON; `region` is the frame's place on the image, xyxy in pixels."""
        height, width = self.values.shape
        return {
            "height": height,
            "width": width,
            "values": grid(self.values),
            "low": figure(self.low),
            "high": figure(self.high),
            "box": corners(region),
        }

    def peak(self, geometry: Geometry) -> PeakFigures:
        """Return the hottest cell whose center lies on the image."""
        x, y = cell_centers(self.values.shape, geometry)
        on_image = cells_on_image(self.values.shape, geometry)
        hottest = int(np.argmax(np.where(on_image, self.values, -np.inf)))
        row, column = divmod(hottest, self.values.shape[1])
        return {
            "x": round(float(x[column]), 2),
            "y": round(float(y[row]), 2),
            "value": figure(self.values[row, column]),
        }


def positive_heat(values: NDArray[np.float32]) -> Heat:
    """Return a heat whose cold end is 0. It is for values whose sign has a meaning: negative values stay cold.

    Args:
        values: float32 (h, w). Where none is positive, the cold end is the least value.
    """
    top = float(values.max())
    return Heat(values, 0.0, top) if top > 0 else Heat(values, float(values.min()), top)


def relative_heat(values: NDArray[np.float32]) -> Heat:
    """Return a heat from the least value (cold) to the greatest (hot): for values whose zero has no meaning.

    Args:
        values: float32 (h, w).
    """
    return Heat(values, float(values.min()), float(values.max()))
