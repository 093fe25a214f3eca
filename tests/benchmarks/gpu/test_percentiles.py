"""Percentiles by the nearest rank, against values counted by hand."""

import random

import pytest

from benchmarks.gpu.percentiles import percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([1, 2], 0.5, 1),
        ([1, 2], 0.51, 2),
        ([3, 1, 2], 0.5, 2),
        ([15, 20, 35, 40, 50], 0.3, 20),  # the example of Wikipedia's "Percentile"
        ([15, 20, 35, 40, 50], 0.4, 20),
        ([15, 20, 35, 40, 50], 0.5, 35),
        ([15, 20, 35, 40, 50], 1.0, 50),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 0.5, 50),
        (list(range(1, 1001)), 0.99, 990),
        (list(range(1, 201)), 0.07, 14),
    ],
)
def test_the_percentile_is_the_value_at_its_rank(
    values: list[float], share: float, expected: float
) -> None:
    random.Random(1).shuffle(values)

    assert percentile(values, share) == expected


def test_without_values_there_is_none() -> None:
    assert percentile([], 0.5) is None
