"""What is wrong with a value or a name, in plain words, where pydantic has the words of its parsers."""

import difflib
from collections.abc import Collection
from typing import Any

LONGEST_SHOWN_NAME = 40
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
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"near: {near[0]}" if near else f"there are {', '.join(known)}"
    return f"{name}: there is no such parameter here; {hint}"
