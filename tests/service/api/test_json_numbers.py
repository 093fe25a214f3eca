"""Outputs as JSON: as one parser would read them, however they are cut into pieces."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.json_numbers import (
    MOST_NUMBERS,
    PIECE_NUMBERS,
    nested,
    pieces_of,
    require_few,
    require_finite,
)
from service.errors import DeadlineError, InvalidParameterError


def numbers(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (0,),
        (1,),
        (PIECE_NUMBERS,),
        (PIECE_NUMBERS + 1,),
        (3, 0),
        (2, PIECE_NUMBERS),
        (2, PIECE_NUMBERS + 1),
        (PIECE_NUMBERS + 1, 1, 2),
        (3, 2, 100, 150),
    ],
)
def test_lists_are_nested_like_the_array(shape: tuple[int, ...]) -> None:
    array = numbers(*shape)
    assert json.loads(nested(array, lambda: None)) == array.tolist()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float64])
def test_each_type_is_written_as_json_has_it(dtype: Any) -> None:
    array = numbers(2, 3, dtype=dtype)
    assert json.loads(nested(array, lambda: None)) == array.tolist()


def test_the_time_is_looked_at_before_each_piece() -> None:
    calls = 0

    def in_time() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise DeadlineError("late")

    with pytest.raises(DeadlineError):
        pieces_of(numbers(5 * PIECE_NUMBERS), in_time)
    assert calls == 3
    assert len(pieces_of(numbers(5, PIECE_NUMBERS), lambda: None)) == 5


def test_the_numbers_of_all_outputs_count_together() -> None:
    half = np.broadcast_to(np.float32(0), MOST_NUMBERS // 4)
    rows = [{"a": half, "b": half}] * 2
    require_few(["a", "b"], rows, "Ask for bytes")
    require_few(["a"], rows * 2, "Ask for bytes")
    rows.append({"a": np.zeros(1, np.float32), "b": half[:0]})
    with pytest.raises(
        InvalidParameterError, match=f"outputs a, b have {MOST_NUMBERS + 1} .* Ask for bytes, or"
    ):
        require_few(["a", "b"], rows, "Ask for bytes")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_does_not_have_are_refused(bad: float) -> None:
    array = np.array([[1, 2], [3, bad]], np.float16)
    require_finite("maps", array[:1], "Ask for bytes")
    require_finite("maps", np.array([7]), "Ask for bytes")
    with pytest.raises(InvalidParameterError, match=r"output maps .* NaN.* Ask for bytes\."):
        require_finite("maps", array, "Ask for bytes")
