"""A key that stands twice in one JSON object: parsers keep the last one in silence, so it is refused."""

import json

from service.api.ingest.json_strings import PIECE_BYTES, count_in, without_strings
from service.errors import MalformedJsonError

SHOWN_KEY = 60
"""The characters of a key of the client that an error repeats."""


def require_unique_keys(text: bytes, given: object) -> None:
    """Check that no object of a JSON text has a key twice: each colon that is in no string belongs to a key of its own.

    Args:
        text: JSON in UTF-8 that was parsed already.
        given: what it was parsed to.

    Raises:
        MalformedJsonError: an object has a key twice.
    """
    keys = _keys(given)
    if count_in(text, b":") == keys or count_in(without_strings(text), b":") == keys:
        return
    if len(text) <= PIECE_BYTES:  # a longer text would keep every other thread from running
        json.loads(text, object_pairs_hook=_refuse_twice, parse_int=str, parse_float=str)
    raise MalformedJsonError("The JSON has a key twice in one object. Send each key once.")


def _keys(given: object) -> int:
    """Return how many keys all objects have together."""
    count, rest = 0, [given]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            count += len(one)
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return count


def _refuse_twice(pairs: list[tuple[str, object]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            shown = repr(key if len(key) <= SHOWN_KEY else f"{key[:SHOWN_KEY]}…")
            raise MalformedJsonError(
                f"The JSON has the key {shown} twice in one object. Send each key once."
            )
        seen.add(key)
