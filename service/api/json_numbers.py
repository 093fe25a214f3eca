"""The outputs of networks as JSON: not too many numbers, none that JSON does not have, and written a few at a time."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from service.errors import InvalidParameterError

MOST_NUMBERS = 1 << 22
"""Numbers that an answer may have as JSON; each takes up to twenty bytes of text."""
PIECE_NUMBERS = 1 << 14
"""So many numbers are written in one step, which no other thread interrupts."""


def require_few(names: Sequence[str], rows: Sequence[Mapping[str, Any]], instead: str) -> None:
    """Check how many numbers an answer has.

    Args:
        names: the outputs that are sent as JSON.
        rows: the outputs of each row.
        instead: what else a client can do, for the message.

    Raises:
        InvalidParameterError: there are too many.
    """
    numbers = sum(np.size(row[name]) for row in rows for name in names)
    if numbers > MOST_NUMBERS:
        raise InvalidParameterError(
            f"the outputs {', '.join(names)} have {numbers} numbers; at most {MOST_NUMBERS} are sent as JSON. "
            f"{instead}, or send fewer images."
        )


def require_finite(name: str, array: NDArray[Any], instead: str) -> None:
    """Check that JSON has each number of an output.

    Raises:
        InvalidParameterError: one is NaN or infinite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidParameterError(
            f"output {name} has a number that JSON does not have: NaN, or an infinite one. {instead}."
        )


def nested(array: NDArray[Any], in_time: Callable[[], None]) -> bytes:
    """Return an array as lists in lists, a number where it has no axis; `in_time` is called between two steps."""
    if array.ndim == 0:
        return to_json(array.item())
    return b"[" + b",".join(pieces_of(array, in_time)) + b"]"


def pieces_of(array: NDArray[Any], in_time: Callable[[], None]) -> list[bytes]:
    """Return what the list of an array's first axis holds, in pieces; none where it is empty.

    Args:
        array: numbers that JSON has, of any shape with one axis at least.
        in_time: called before each piece is written; raises where the answer is too late.
    """
    size = math.prod(array.shape[1:])
    if size > PIECE_NUMBERS:
        return [nested(one, in_time) for one in array]
    pieces = []
    step = PIECE_NUMBERS // max(1, size)
    for start in range(0, len(array), step):
        in_time()
        pieces.append(to_json(array[start : start + step].tolist())[1:-1])
    return pieces
