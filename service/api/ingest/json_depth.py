"""How deep JSON is nested, before a parser builds it."""

from service.api.ingest.json_strings import PIECE_BYTES, QUOTE, count_in, without_strings

_OPENING, _BRACKETS = b"[{", b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))


def is_deeper(text: bytes, most: int, commas: int) -> bool:
    """Return whether JSON is nested deeper than so many levels, or has more brackets or strings than that allows.

    Args:
        text: JSON, or what is sent as such.
        most: levels that are allowed; `{"images": []}` has two.
        commas: how many there are in the text.
    """
    if _opened(text) <= most:
        return False
    # A list or object, and a key with its string, is the first in another one, or stands behind a comma.
    most_in_all = (commas + 1) * most
    if count_in(text, QUOTE) > 4 * (most_in_all + commas):
        return True
    body = without_strings(text)
    if _opened(body) > most_in_all:
        return True
    depth = 0
    for bracket in _brackets(body):
        depth += 1 if bracket in _OPENING else -1
        if depth > most:
            return True
    return False


def _opened(body: bytes) -> int:
    return count_in(body, b"[") + count_in(body, b"{")


def _brackets(body: bytes) -> bytes:
    """Return the brackets of JSON without strings."""
    pieces = (body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES))
    return b"".join(piece.translate(None, _NO_BRACKETS) for piece in pieces)
