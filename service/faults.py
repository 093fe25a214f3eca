"""What is wrong with a value or a name, in plain words, where pydantic has the words of its parsers."""

import difflib
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

LONGEST_SHOWN_NAME = 40
LONGEST_COMPARED_NAME = 100
"""Longer names are compared by their beginning: the comparison takes 130 ms for each million characters."""
SHOWN = 60
"""The characters of a value that a message repeats."""
_WORDS = {
    "int_parsing": "A whole number is expected",
    "int_from_float": "A whole number is expected",
    "float_parsing": "A number is expected",
    "bool_parsing": "true or false is expected",
    "extra_forbidden": "There is no such entry",
}


def words_of(fault: Any) -> str:  # noqa: ANN401  # pydantic's ErrorDetails, or what is formed like it
    """Return the words for a fault that pydantic found."""
    words: str = _WORDS.get(fault.get("type", ""), fault["msg"])
    return words


def unknown_parameter(name: str, known: Collection[str]) -> str:
    """Return what to write in place of a parameter that does not exist: the nearest that does, or all of them."""
    name = name[:LONGEST_SHOWN_NAME]
    near = nearest(name, known, 1)
    hint = f"near: {near[0]}" if near else f"there are {', '.join(known)}"
    return f"{name}: there is no such parameter here; {hint}"


def nearest(name: str, known: Collection[str], most: int) -> list[str]:
    """Return the known names that are most like a name of any length, the nearest first; none where none is like it."""
    return difflib.get_close_matches(name[:LONGEST_COMPARED_NAME], known, n=most)


def shown(value: object) -> str:
    """Return what a message repeats of a value: its beginning. What follows is never looked at, however much it is."""
    text = "".join(islice(_characters(value), SHOWN + 1))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _characters(value: object) -> Iterator[str]:
    """Yield the text of a value one character after the other; a long string is cut, and a tuple is a list."""
    if isinstance(value, str | bytes):
        yield from repr(value[: SHOWN + 1])
    elif isinstance(value, dict):
        yield "{"
        for index, (key, one) in enumerate(value.items()):
            yield from ", " if index else ""
            yield from _characters(key)
            yield from ": "
            yield from _characters(one)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for index, one in enumerate(value):
            yield from ", " if index else ""
            yield from _characters(one)
        yield "]"
    else:
        yield from repr(value)
