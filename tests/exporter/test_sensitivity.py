"""What rounding may explain is measured on the source alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.heads.embed import EmbedHead
from exporter.network import Array, Outputs
from exporter.sensitivity import LARGEST, allowed_by_rounding

PIXELS = np.random.default_rng(2).random((2, 3, 4, 4), np.float32)
HEAD = EmbedHead()


def steps(size: float) -> float:
    """Return what is allowed for a network that rounds the sum of its pixels to steps, as a quantized layer does."""

    def run(pixels: NDArray[np.float32]) -> Outputs:
        middle = PIXELS.astype(np.float64).sum(axis=(1, 2, 3), keepdims=True)
        moved = pixels.astype(np.float64).sum(axis=(1, 2, 3), keepdims=True) > middle
        values: Array = 1 + size * moved.reshape(len(pixels), 1)
        return {"embedding": values, "features": values}

    return allowed_by_rounding(run, HEAD, PIXELS)


def test_smooth_networks_are_allowed_nothing() -> None:
    def run(pixels: NDArray[np.float32]) -> Outputs:
        values = pixels.reshape(len(pixels), -1) @ np.ones((48, 2), np.float32)
        return {"embedding": values, "features": values}

    assert allowed_by_rounding(run, HEAD, PIXELS) < 1e-5


def test_a_step_at_the_values_themselves_is_allowed_four_times_and_not_beyond_a_limit() -> None:
    assert steps(0.002) == pytest.approx(0.008, rel=0.01)
    assert steps(0.5) == LARGEST
