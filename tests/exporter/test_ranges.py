"""The range that eight bits span."""

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.ranges import RULES, narrowed

MANY = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)


def error(samples: NDArray[np.float32], low: float, high: float) -> float:
    """Return the mean squared error of 255 steps between the ends."""
    levels = np.linspace(low, high, 256)
    nearest = levels[np.abs(samples[:, None] - levels).argmin(axis=1)]
    return float(np.square(samples - nearest).mean())


@pytest.mark.parametrize("rule", RULES)
def test_every_range_contains_zero_and_is_no_wider_than_the_full_one(rule: str) -> None:
    positive = np.abs(MANY) + 1
    full = (0.0, float(positive.max()))
    low, high = narrowed(rule, full, positive)  # type: ignore[arg-type]
    assert low == 0
    assert 1 < high <= full[1]


def test_the_least_squared_error_gives_up_rare_values_for_finer_steps() -> None:
    full = (float(MANY.min()), float(MANY.max()))
    low, high = narrowed("squared error", full, MANY)
    assert full[0] < low < -3
    assert 3 < high < full[1]
    some = MANY[:5000]
    assert error(some, low, high) < error(some, *full)


def test_one_value_in_ten_thousand_is_clipped_at_each_end() -> None:
    low, high = narrowed("percentile", (float(MANY.min()), float(MANY.max())), MANY)
    assert [int((end > MANY).sum()) for end in (low, high)] == [10, len(MANY) - 10]


def test_the_full_range_stays() -> None:
    assert narrowed("full", (-1.0, 5.0), MANY) == (-1.0, 5.0)
    assert narrowed("squared error", (0.0, 0.0), np.zeros(9, np.float32)) == (0.0, 0.0)
