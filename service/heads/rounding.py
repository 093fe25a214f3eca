"""How explanations round their numbers: to four significant figures, which is enough for a chart or a page."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def figure(value: float) -> float:
    """Return a number rounded to four significant figures."""
    return float(f"{float(value):.4g}")


def grid(values: NDArray[Any]) -> list[list[float]]:
    """Return an array (H, W) as rows of rounded numbers."""
    return [[figure(value) for value in row] for row in values.tolist()]


def finite(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values as float32, with NaN and infinities replaced by 0: a half-precision network may overflow inside."""
    clean: NDArray[np.float32] = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    return clean
