"""How deep JSON is nested, before a parser builds it."""

import re

from service.api.ingest.json_strings import QUOTE, without_strings

_BRACKET = re.compile(rb"[\[\]{}]")


def is_deeper(text: bytes | str, most: int, commas: int) -> bool:
    """Return whether JSON is nested deeper than so many levels, or has more brackets or strings than that allows.

    Args:
        text: JSON, or what is sent as such.
        most: levels that are allowed; `{"images": []}` has two.
        commas: how many there are in the text.
    """
    body = text.encode(errors="replace") if isinstance(text, str) else text
    if _opened(body) <= most:
        return False
    # A list or object, and a key with its string, is the first in another one, or stands behind a comma.
    most_in_all = (commas + 1) * most
    if body.count(QUOTE) > 4 * (most_in_all + commas):
        return True
    body = without_strings(body)
    if _opened(body) > most_in_all:
        return True
    depth = 0
    for found in _BRACKET.finditer(body):
        depth += 1 if found.group() in b"[{" else -1
        if depth > most:
            return True
    return False


def _opened(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")
