"""Where the cells of a map lie on the displayed image: a map (h, w) is a grid over the network's frame."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.imaging.geometry import Geometry


def cell_centers(
    shape: Sequence[int], geometry: Geometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the x of each column's center and the y of each row's center, in pixels of the displayed image.

    Args:
        shape: rows and columns of the map, (h, w).
        geometry: where the frame lies on the image.

    Returns:
        float64 (w,) and float64 (h,).
    """
    left, top, right, bottom = geometry.region
    height, width = shape
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    return x, y


def cells_on_image(shape: Sequence[int], geometry: Geometry) -> NDArray[np.bool_]:
    """Return which cells have their center on the image and not on a letterbox's padding, bool (h, w)."""
    x, y = cell_centers(shape, geometry)
    x0, y0, x1, y1 = geometry.seen
    on_image: NDArray[np.bool_] = np.outer((y >= y0) & (y < y1), (x >= x0) & (x < x1))
    return on_image
