"""JSON with long lists of numbers: the lists become arrays, and are never lists of Python's numbers.

Such a list takes ten times the memory of its text, and one call of a parser keeps the interpreter from everything else.
So the numbers behind keys that hold a tensor are cut out first, and read in pieces.
"""

import math
import re
import secrets
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from service.api.ingest.json_depth import is_deeper
from service.api.ingest.json_keys import require_unique_keys
from service.api.ingest.json_pieces import PieceParser
from service.api.ingest.json_strings import QUOTE, count_in, string_end
from service.errors import InvalidParameterError, MalformedJsonError
from service.value import value

PIECE_BYTES = 64 * 1024
"""So much text is parsed in one call."""
SPARE_VALUES = 1024
"""Strings and commas that JSON may have beside four for each row."""

_LIST_FOLLOWS = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+(?=\[)")
_NUMBERS = re.compile(rb"[\[\]0-9eE+.,\s-]{1,%d}+" % PIECE_BYTES)
_NO_STRUCTURE = b"0123456789eE+-. \t\r\n"
_AS_ONE_LIST = bytes.maketrans(b"[]", b"  ")


@value
class Numbers:
    """A list of numbers, nested or flat, as its place in a text."""

    text: bytes
    start: int
    end: int


def read_json(
    text: bytes, *, most_rows: int, max_depth: int, keys: Collection[str] = ("data",)
) -> tuple[Any, dict[str, Numbers]]:
    """Return what JSON holds, with a key in the place of each list of numbers behind `keys`, and the lists by key.

    Raises:
        MalformedJsonError: it is not JSON, is nested too deep, has too many values, or a key twice.
    """
    most = 4 * most_rows + SPARE_VALUES
    rest, found = _cut(text, most, {b'"%b"' % key.encode() for key in keys})
    commas = count_in(rest, b",")
    if commas > 2 * most:
        raise MalformedJsonError(
            f"The JSON has more than {2 * most} values that are no numbers of a tensor's data. Send data as numbers."
        )
    if is_deeper(rest, max_depth, commas):
        raise MalformedJsonError(f"The JSON is nested more than {max_depth} levels deep")
    try:
        given = PieceParser().parsed(rest)
    except ValueError as error:
        raise MalformedJsonError(f"The JSON can not be parsed: {error}") from error
    require_unique_keys(rest, given)
    return given, found


def _cut(text: bytes, most: int, keys: Collection[bytes]) -> tuple[bytes, dict[str, Numbers]]:
    parts: list[bytes] = []
    found: dict[str, Numbers] = {}
    secret = secrets.token_hex(8)  # no client can name a list that it did not send here
    kept = at = strings = 0
    longest = max(map(len, keys))
    too_many = MalformedJsonError(
        f"The JSON has more than {most} strings, which is more than any request needs. Send several requests."
    )
    if count_in(text, QUOTE) > 4 * most:  # those within strings are looked at too
        raise too_many
    while (start := text.find(QUOTE, at)) >= 0:
        strings += 1
        if strings > most:
            raise too_many
        at = string_end(text, start)
        named = at - start <= longest and text[start:at] in keys
        follows = _LIST_FOLLOWS.match(text, at) if named else None
        if follows is None:
            continue
        start = end = follows.end()
        while (more := _NUMBERS.match(text, end)) is not None:
            end = more.end()
        last = text.rfind(b"]", start, end)
        at = end
        if last < 0:  # a list of something else
            continue
        key = f"{secret}-{len(found)}"
        found[key] = Numbers(text, start, last + 1)
        parts += [text[kept:start], b'"%b"' % key.encode()]
        kept = last + 1
    return b"".join([*parts, text[kept:]]), found


def count_of(numbers: Numbers) -> int:
    """Return how many numbers a list has, if it holds nothing else."""
    return count_in(numbers.text, b",", numbers.start, numbers.end) + 1


def array_of(
    numbers: Numbers, shape: tuple[int, ...], dtype: np.dtype[Any], *, flat: bool = True
) -> NDArray[Any]:
    """Return numbers as an array of this shape; they are nested like it, or, where that is allowed, flat.

    Raises:
        InvalidParameterError: there are more or fewer, they are nested in another way, or one is out of range.
    """
    text, start, end = numbers.text, numbers.start, numbers.end
    elements, found = math.prod(shape), count_of(numbers)
    if found != elements:
        raise InvalidParameterError(f"data has {found} elements, and the shape {elements}")
    structure = b"".join(
        text[at : min(at + PIECE_BYTES, end)].translate(None, _NO_STRUCTURE)
        for at in range(start, end, PIECE_BYTES)
    )
    if structure != _nested(shape) and not (flat and structure == _nested((elements,))):
        allowed = "neither flat nor" if flat else "not"
        raise InvalidParameterError(f"data is {allowed} nested like the shape {list(shape)}")
    array = np.empty(elements, dtype)
    at = 0
    for piece in _pieces(text, start, end):
        try:
            values = np.array(from_json(b"[%b]" % piece.translate(_AS_ONE_LIST)))
        except ValueError as error:
            raise MalformedJsonError("data holds what is no number") from error
        array[at : at + len(values)] = _checked(values, dtype)
        at += len(values)
    return array.reshape(shape)


def array_from_bytes(
    data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return little-endian bytes as an array of this shape, which they fill exactly.

    Raises:
        InvalidParameterError: one of its numbers is NaN or infinite.
    """
    array = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidParameterError("data has a number that is NaN or infinite")
    return array


def _pieces(text: bytes, start: int, end: int) -> Iterator[bytes]:
    while end - start > PIECE_BYTES:
        cut = text.rfind(b",", start, start + PIECE_BYTES)
        if cut < 0:
            raise InvalidParameterError("data has a number that is too long")
        yield text[start:cut]
        start = cut + 1
    yield text[start:end]


def _nested(shape: tuple[int, ...]) -> bytes:
    """Return the brackets and commas of a list of this shape."""
    inner = b""
    for size in reversed(shape):
        # Not a join of a list, which for millions of elements takes a tenth of a second.
        inner = b"[" + ((inner + b",") * size)[:-1] + b"]"
    return inner


def _checked(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if values.dtype.kind not in "iu" or values.min() < info.min or values.max() > info.max:
            raise InvalidParameterError(
                f"data must hold whole numbers from {info.min} to {info.max}"
            )
        return values
    if values.dtype.kind not in "iuf":
        raise InvalidParameterError("data has a number that is out of range")
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if not np.isfinite(cast).all():
        raise InvalidParameterError("data has a number that is out of range")
    return cast
