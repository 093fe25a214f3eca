"""What the first frame of an AVIF needs → a small AVIF of only that, which is all that the decoder's library sees."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from service.imaging.avif import Avif, Picture, Property

_START_BRANDS = b"avif\0\0\0\0avifmif1miaf"
_HANDLER = bytes(4) + b"pict" + bytes(13)
_BOX_BYTES = 8
_LONG_NUMBERS = b"\0\0\0\1"
"""Version 0, and numbers of properties of 15 bits."""
_FIELDS_OF_4 = b"\x44\0"
"""Places and lengths have 4 bytes each."""


class _Item(NamedTuple):
    number: int
    picture: Picture


def rewritten(avif: Avif) -> bytes:
    """Return a file of the first frame, whose pixels and color profile are those of the file that `avif` was read from.

    Each stream is in it once and in one part, each property once.
    """
    items = [_Item(number, picture) for number, picture in enumerate(avif.picture, 1)]
    start = _box(b"ftyp", _START_BRANDS)
    used = {item.picture.stream: avif.streams[item.picture.stream] for item in items}
    places, at = {}, len(start) + _BOX_BYTES
    for number, stream in used.items():
        places[number] = (at, len(stream))
        at += len(stream)
    head = struct.pack(">I4s", at - len(start), b"mdat")
    return b"".join((start, head, *used.values(), _meta(items, places)))


def _meta(items: list[_Item], places: dict[int, tuple[int, int]]) -> bytes:
    entries = b"".join(
        _box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, picture.kind))
        for number, picture in items
    )
    located = b"".join(
        struct.pack(">HHHII", number, 0, 1, *places[picture.stream]) for number, picture in items
    )
    count = struct.pack(">H", len(items))
    references = b"".join(_references(items))
    parts = (
        _full(b"hdlr", _HANDLER),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iloc", _FIELDS_OF_4 + count + located),
        _full(b"iinf", count + entries),
        _full(b"iref", references) if references else b"",
        _box(b"iprp", _properties(items)),
    )
    return _full(b"meta", b"".join(parts))


def _references(items: list[_Item]) -> Iterator[bytes]:
    """Yield which items are tiles and opacities of others."""
    numbers = {id(picture): number for number, picture in items}
    for number, picture in items:
        if picture.tiles:
            tiles = [numbers[id(tile)] for tile in picture.tiles]
            yield _box(b"dimg", struct.pack(f">HH{len(tiles)}H", number, len(tiles), *tiles))
        if picture.opacity is not None:
            other = numbers[id(picture.opacity)]
            yield _box(b"auxl", struct.pack(">HHH", other, 1, number))
            if picture.is_premultiplied:
                yield _box(b"prem", struct.pack(">HHH", number, 1, other))


def _properties(items: list[_Item]) -> bytes:
    numbers: dict[tuple[bytes, bytes], int] = {}
    owned = []
    for number, picture in items:
        words = [_word(one, numbers) for one in picture.properties]
        owned.append(struct.pack(f">HB{len(words)}H", number, len(words), *words))
    table = _box(b"ipma", _LONG_NUMBERS + struct.pack(">I", len(items)) + b"".join(owned))
    return _box(b"ipco", b"".join(_box(*one) for one in numbers)) + table


def _word(one: Property, numbers: dict[tuple[bytes, bytes], int]) -> int:
    number = numbers.setdefault((one.kind, one.content), len(numbers) + 1)
    return one.is_essential << 15 | number


def _full(kind: bytes, content: bytes) -> bytes:
    return _box(kind, bytes(4) + content)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", _BOX_BYTES + len(content), kind) + content
