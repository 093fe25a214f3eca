import numpy as np
import pytest

from service.heads.rounding import figure, finite, grid


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456, 0.1235), (12345.6, 12350.0), (-0.00012344, -0.0001234), (0.0, 0.0), (1, 1.0)],
)
def test_a_figure_has_four_significant_digits(value: float, expected: float) -> None:
    assert figure(value) == expected


def test_a_grid_is_rows_of_figures() -> None:
    assert grid(np.array([[0.123456, 1], [2, 3.99999]])) == [[0.1235, 1.0], [2.0, 4.0]]


def test_what_is_no_number_becomes_0_and_the_rest_float32() -> None:
    found = finite(np.array([1.5, np.nan, np.inf, -np.inf], np.float16))
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, 0, 0, 0]
