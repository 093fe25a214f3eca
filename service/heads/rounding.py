"""How explanations write their numbers: four figures, which is more than an eye or a page needs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.geometry import Box


def figure(value: float) -> float:
    """Return a number with four significant figures."""
    return float(f"{float(value):.4g}")


def grid(values: NDArray[Any]) -> list[list[float]]:
    """Return (h, w) numbers as rows."""
    return [[figure(value) for value in row] for row in values.tolist()]


def corners(box: Box) -> dict[str, float]:
    """Return a box in pixels of the image as JSON."""
    names = ("x_min", "y_min", "x_max", "y_max")
    return {name: round(float(value), 2) for name, value in zip(names, box, strict=True)}


def finite(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 values with what is no number as 0: a network in half precision may overflow inside."""
    clean: NDArray[np.float32] = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    return clean
