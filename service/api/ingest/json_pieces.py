"""JSON with long strings, such as images: parsed in pieces, because each step keeps every other thread from running.

One call of a parser holds the interpreter's lock until it returns: for a body of 30 MiB 60 to 80 ms, in which the event
loop answers nobody. So the long strings are taken out first and parsed piece by piece, and what is left is small.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from service.api.ingest.json_strings import (
    BACKSLASH,
    PIECE_BYTES,
    QUOTE,
    backslashes_before,
    string_end,
)

Parse = Callable[[bytes], Any]
"""Returns what JSON holds; raises ValueError where it is none."""

_ESCAPE, _UNICODE_ESCAPE = 2, 6
_FIRST_OF_TWO = frozenset({b"\\ud8", b"\\ud9", b"\\uda", b"\\udb"})
"""How the first half of a character begins that is written as two escapes."""


def parse_json_text(text: bytes) -> Any:  # noqa: ANN401  # of any kind
    """Return what JSON holds.

    Raises:
        ValueError: it is none.
    """
    return from_json(text, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class PieceParser:
    """Parses JSON so that no call of the parser gets much.

    Args:
        parse: parses a piece.
        piece_bytes: of a long string, and the largest text that is parsed as it is.
        long_bytes: a longer string is taken out of a text that is larger than a piece.
        most_rest_bytes: what such a text may have beside its long strings.
    """

    parse: Parse = parse_json_text
    piece_bytes: int = PIECE_BYTES
    long_bytes: int = 256
    most_rest_bytes: int = 2**22

    def parsed(self, text: bytes) -> Any:  # noqa: ANN401  # of any kind
        """Return what JSON in UTF-8 holds.

        Raises:
            ValueError: it is no JSON, or has too much beside its long strings.
        """
        if len(text) <= self.piece_bytes:
            return self.parse(text)
        rest, found = self._without_long(text)
        try:
            value = self.parse(rest)
        except ValueError as error:  # it names a place in what is left
            raise ValueError(str(error).partition(" at line ")[0]) from error
        return _with_long(value, found) if found else value

    def _without_long(self, text: bytes) -> tuple[bytes, dict[str, str]]:
        """Return JSON with a key in the place of each long string, and these strings by key."""
        parts, found = list[bytes](), dict[str, str]()
        secret = secrets.token_hex(8)  # no client can name a string that it did not send here
        at, left, may_follow = 0, self.most_rest_bytes, 1
        while (start := text.find(QUOTE, at)) >= 0:
            left -= start - at
            self._require(left)
            between = text[at:start]
            may_follow += 2 * sum(between.count(mark) for mark in (b",", b"[", b"{")) - 1
            if may_follow < 0:
                raise ValueError("expected `,`, `:`, `]` or `}` behind a string")
            parts.append(between)
            at = string_end(text, start)
            if at - start <= self.long_bytes:
                left -= at - start
                parts.append(text[start:at])
                continue
            if at == len(text) and not _is_closed(text, start):
                raise ValueError("EOF while parsing a string")
            key = f"{secret}-{len(found)}"
            found[key] = self._string(text, start + 1, at - 1)
            parts.append(b'"%b"' % key.encode())
            left -= len(parts[-1])
        self._require(left - (len(text) - at))
        return b"".join([*parts, text[at:]]), found

    def _require(self, left: int) -> None:
        if left < 0:
            raise ValueError(
                f"it has more than {self.most_rest_bytes / 2**20:g} MiB beside its long strings"
            )

    def _string(self, text: bytes, start: int, end: int) -> str:
        """Return the string between these places, which are behind and before its quotation marks."""
        pieces = list[str]()
        while start < end:
            stop = start + self.piece_bytes
            stop = end if stop >= end else _before_cut_character(text, start, stop)
            pieces.append(self.parse(b'"%b"' % text[start:stop]))
            start = stop
        return "".join(pieces)


def _is_closed(text: bytes, start: int) -> bool:
    """Return whether the string that begins there ends with the text."""
    end = len(text) - 1
    return (
        end > start and text.endswith(QUOTE) and backslashes_before(text, end, start + 1) % 2 == 0
    )


def _before_cut_character(text: bytes, start: int, stop: int) -> int:
    """Return the last place up to `stop` that is not within a character, an escape or a pair of escapes."""
    for _ in range(3):  # bytes of UTF-8 that follow the first one of a character
        if text[stop] & 0xC0 != 0x80:
            break
        stop -= 1
    last = text.rfind(BACKSLASH, max(start, stop - 2 * _UNICODE_ESCAPE), stop)
    if last < 0 or not _begins_escape(text, start, last):
        return stop
    before = last - _UNICODE_ESCAPE
    if before >= start and _is_first_of_two(text, before) and _begins_escape(text, start, before):
        last = before
    if _is_first_of_two(text, last):
        size = 2 * _UNICODE_ESCAPE
    else:
        size = _UNICODE_ESCAPE if text[last + 1 : last + 2] == b"u" else _ESCAPE
    return last if last + size > stop else stop


def _begins_escape(text: bytes, start: int, at: int) -> bool:
    """Return whether the backslash there is not itself behind one that it belongs to."""
    return backslashes_before(text, at + 1, start) % 2 == 1


def _is_first_of_two(text: bytes, at: int) -> bool:
    return text[at : at + 4].lower() in _FIRST_OF_TWO


def _with_long(value: Any, found: dict[str, str]) -> Any:  # noqa: ANN401  # of any kind
    """Return a value with the long strings in their places again."""
    if isinstance(value, str):
        return found.get(value, value)
    if isinstance(value, list):
        return [_with_long(one, found) for one in value]
    if isinstance(value, dict):
        return {found.get(key, key): _with_long(one, found) for key, one in value.items()}
    return value
