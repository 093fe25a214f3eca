"""What is wrong with a value, in plain words, where pydantic has the words of its parsers."""

from typing import Any

_WORDS = {
    "int_parsing": "A whole number is expected",
    "int_from_float": "A whole number is expected",
    "float_parsing": "A number is expected",
    "bool_parsing": "true or false is expected",
}


def words_of(fault: Any) -> str:  # noqa: ANN401  # pydantic's ErrorDetails, or what is formed like it
    """Return the words for a fault that pydantic found."""
    words: str = _WORDS.get(fault.get("type", ""), fault["msg"])
    return words
