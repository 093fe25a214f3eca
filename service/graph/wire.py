"""A file in protobuf's wire format → its fields, one by one; what nobody wants is skipped without being read."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from service.errors import ServableError

MOST_FIELDS = 1_000_000
"""Each costs a microsecond or two. A network of 10,000 nodes has about 300,000."""
LONGEST_TEXT = 65_536
"""Bytes of a name. Real ones have a few hundred."""

_WINDOW_BYTES = 16_384
_LONGEST_VARINT = 10

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and its number or the place of its bytes in the file."""

    number: int
    kind: int
    value: int
    """Of a varint its value, of bytes their count, of a fixed width its bits."""
    end: int
    """Where the field ends."""


class WireReader:
    """Reads the fields of nested messages.

    Args:
        file: open for reading in binary.
        most: how many fields it reads at most.
    """

    def __init__(self, file: BinaryIO, most: int = MOST_FIELDS) -> None:
        self._file = file
        self._left = most
        self._most = most
        self._at = 0
        self._window, self._window_at = b"", 0

    def fields(self, end: int) -> Iterator[Field]:
        """Yield the fields from here to `end`; the caller may read a field before it takes the next one.

        Raises:
            ServableError: the bytes are not of this format, or there are too many fields.
        """
        while (start := self._at) < end:
            self._left -= 1
            if self._left < 0:
                raise ServableError(
                    f"the file has more than {self._most} fields, more than any real network; export it again"
                )
            tag = self._varint()
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value = self._varint()
                stop = self._at
            elif kind == LENGTH:
                value = self._varint()
                stop = self._at + value
            elif kind in {FIXED32, FIXED64}:
                stop = self._at + (4 if kind == FIXED32 else 8)
                value = int.from_bytes(self._read(stop - self._at), "little")
            else:
                raise _damaged(start)
            if stop > end:
                raise _damaged(start)
            yield Field(number, kind, value, stop)
            self._at = stop

    def text(self, field: Field) -> str:
        """Return the text of a field.

        Raises:
            ServableError: it is no text, or longer than any name.
        """
        if field.kind != LENGTH or field.value > LONGEST_TEXT:
            raise ServableError(
                f"a name in the file has {field.value} bytes; at most {LONGEST_TEXT} are read"
            )
        return self._read(field.value).decode(errors="replace")

    def data(self, field: Field) -> bytes:
        """Return the bytes of a field, which the caller has bounded."""
        return self._read(field.value)

    def varints(self, field: Field, most: int) -> tuple[int, ...] | None:
        """Return the signed numbers of a field that repeats, packed or one alone; None where there are more."""
        if field.kind == VARINT:
            return (_signed(field.value),)
        if field.kind != LENGTH:
            raise _damaged(field.end)
        found: list[int] = []
        while self._at < field.end:
            if len(found) == most:
                return None
            found.append(_signed(self._varint()))
        return tuple(found)

    def _read(self, size: int) -> bytes:
        start = self._at - self._window_at
        if not 0 <= start <= len(self._window) - size:
            self._fill(max(size, _WINDOW_BYTES))
            start = 0
        self._at += size
        return self._window[start : start + size]

    def _fill(self, size: int) -> None:
        self._file.seek(self._at)
        self._window, self._window_at = self._file.read(size), self._at

    def _varint(self) -> int:
        start = self._at - self._window_at
        if not 0 <= start < len(self._window) - _LONGEST_VARINT:
            self._fill(_WINDOW_BYTES)
            start = 0
        value = 0
        for place, byte in enumerate(self._window[start : start + _LONGEST_VARINT]):
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                self._at += place + 1
                return value
        raise _damaged(self._at)


def _signed(value: int) -> int:
    """Return an int64, which the format stores as its 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _damaged(place: int) -> ServableError:
    return ServableError(
        f"the file is no ONNX file, or damaged: it does not parse at byte {place}; copy it again"
    )
