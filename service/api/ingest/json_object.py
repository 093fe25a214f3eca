"""A body that is one small JSON object, perhaps with images in it: bounded before a parser builds it."""

from collections.abc import Mapping
from typing import Any

from service.api.ingest.json_depth import is_deeper
from service.api.ingest.json_keys import require_unique_keys
from service.api.ingest.json_pieces import PieceParser
from service.api.ingest.json_strings import count_in
from service.errors import EmptyBodyError, InvalidParameterError, MalformedJsonError
from service.faults import shown

Object = Mapping[str, Any]
MOST_VALUES = 16_384
"""Values of an object: enough for the options of a request with the names of every class."""


def read_object(
    body: bytes, max_depth: int, example: str, most_values: int = MOST_VALUES
) -> Object:
    """Return a JSON object. Blocking where the body is large.

    Args:
        body: JSON in UTF-8.
        max_depth: levels of lists and objects.
        example: what to send, for messages.
        most_values: about how many values it may have.

    Raises:
        EmptyBodyError: there is no body.
        MalformedJsonError: it is not JSON, is no object, is nested too deep, has too many values, or a key twice.
    """
    if not body:
        raise EmptyBodyError(f"The request has no body. Send {example}.")
    commas = count_in(body, b",")
    if commas > most_values:
        raise MalformedJsonError(f"The JSON has more than {most_values} values. Send {example}.")
    if is_deeper(body, max_depth, commas):
        raise MalformedJsonError(f"The JSON is nested more than {max_depth} levels deep")
    try:
        given = PieceParser().parsed(body)
    except ValueError as error:
        raise MalformedJsonError(f"The JSON can not be parsed: {error}") from error
    if not isinstance(given, dict):
        raise MalformedJsonError(f"The JSON must be an object. Send {example}.")
    require_unique_keys(body, given)
    return given


def text_in(given: Object, key: str) -> str | None:
    """Return a string, None where the key is absent or null.

    Raises:
        InvalidParameterError: it is something else.
    """
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidParameterError(f"{key} must be a string, not {shown(value)}")
    return value


def object_in(given: Object, key: str) -> Object:
    """Return an object, an empty one where the key is absent or null.

    Raises:
        InvalidParameterError: it is something else.
    """
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidParameterError(f"{key} must be an object, not {shown(value)}")
    return value


def share_in(given: Object, key: str) -> float | None:
    """Return a number from 0 to 1, None where the key is absent or null.

    Raises:
        InvalidParameterError: it is something else.
    """
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidParameterError(f"{key} must be a number from 0 to 1, not {shown(value)}")
    return float(value)


def texts_in(given: Object, key: str) -> tuple[str, ...]:
    """Return a list of strings, an empty one where the key is absent or null.

    Raises:
        InvalidParameterError: it is something else.
    """
    value = given.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidParameterError(f"{key} must be a list of strings, not {shown(value)}")
    return tuple(value)
