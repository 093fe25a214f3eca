"""A heat map: how much each place of the frame says, and where on the image it says so."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.heads.boxes import corners
from service.heads.rounding import figure, grid
from service.imaging.colormap import levels
from service.imaging.geometry import Box, Geometry
from service.imaging.masks import enlarge


@dataclass(frozen=True, slots=True)
class Heat:
    """Values float32 (h, w) over the network's frame; `low` and below is cold, `high` and above is hot."""

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
        """Return the heat as 0–255 at the displayed image's size, uint8; 0 where the network saw nothing."""
        side = max(*self.values.shape, 224)
        smooth = levels(self.on_frame(side, side), self.low, self.high)
        return enlarge(smooth, geometry)

    def figures(self, region: Box) -> dict[str, Any]:
        height, width = self.values.shape
        return {
            "height": height,
            "width": width,
            "values": grid(self.values),
            "low": figure(self.low),
            "high": figure(self.high),
            "box": corners(region),
        }

    def peak(self, geometry: Geometry) -> dict[str, float]:
        """Return the center of the hottest place that lies on the image, in pixels of the displayed image."""
        left, top, right, bottom = geometry.region
        height, width = self.values.shape
        x = left + (np.arange(width) + 0.5) * (right - left) / width
        y = top + (np.arange(height) + 0.5) * (bottom - top) / height
        x0, y0, x1, y1 = geometry.seen
        seen = np.outer((y >= y0) & (y < y1), (x >= x0) & (x < x1))
        hottest = int(np.argmax(np.where(seen, self.values, -np.inf)))
        row, column = divmod(hottest, width)
        return {
            "x": round(float(x[column]), 2),
            "y": round(float(y[row]), 2),
            "value": figure(self.values[row, column]),
        }


def positive_heat(values: NDArray[np.float32]) -> Heat:
    """Return a heat whose zero means "says nothing": what speaks against is drawn cold."""
    top = float(values.max())
    return Heat(values, 0.0, top) if top > 0 else Heat(values, float(values.min()), top)


def relative_heat(values: NDArray[np.float32]) -> Heat:
    """Return a heat whose zero means nothing: from its least to its most."""
    return Heat(values, float(values.min()), float(values.max()))
