"""The items of an AVIF's box of metadata → the picture that is shown: ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.errors import UnsupportedImageError
from service.imaging.avif import (
    CODED,
    GRID,
    Contents,
    Extents,
    Picture,
    Property,
    Streams,
    is_opacity,
    with_opacity,
)
from service.imaging.avif_boxes import Budget, Fields, Place, UnreadableError, boxes, first_boxes

KEPT = frozenset({
    *(b"ispe", b"pixi", b"av1C", b"colr", b"auxC", b"pasp", b"clap"),
    *(b"irot", b"imir", b"a1op", b"lsel", b"a1lx"),
})  # fmt: skip
"""The properties that pixels or their notes depend on."""
_KNOWN = KEPT | {b"clli"}
_COPY_STEPS = 8
"""What it takes to copy a picture, which is slow."""
_IN_FILE, _IN_BOX = 0, 1
_FIELD_BYTES = frozenset({0, 4, 8})
_FORMATS = {0: "0s", 2: "H", 4: "I", 8: "Q"}
"""Of numbers with so many bytes; `0s` takes none and gives nothing."""


class _Location(NamedTuple):
    """Where the table with an item's parts is, and what its places count from."""

    table: int
    parts: int
    base: int
    is_in_box: bool


class _Owned(NamedTuple):
    """Where the numbers of an item's properties are."""

    table: int
    numbers: int
    number_bytes: int


@dataclass(slots=True)
class _Items:
    """What the tables say of items, by their numbers."""

    body: bytes
    budget: Budget
    streams: Streams
    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    locations: dict[int, _Location] = field(default_factory=dict)
    field_bytes: tuple[int, int, int] = (0, 0, 0)
    """Of the index, the place and the length of a part."""
    data: Place = (0, 0)
    """The data within the box of metadata."""
    properties: list[tuple[bytes, Place]] = field(default_factory=list)
    owned: dict[int, list[_Owned]] = field(default_factory=dict)
    tiles: dict[int, tuple[int, ...]] = field(default_factory=dict)
    auxiliary: dict[int, int] = field(default_factory=dict)
    """Item → the one that it belongs to, e.g. as its opacity."""
    premultiplied: dict[int, int] = field(default_factory=dict)
    contents: Contents = field(init=False)
    places: dict[int, Extents] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    known: dict[int, tuple[tuple[Property, ...], bool]] = field(default_factory=dict)
    """Places, stream and properties of an item are looked up once, however many tiles name it."""

    def __post_init__(self) -> None:
        self.contents = Contents(self.body)

    def extents(self, item: int) -> Extents:
        """Return where those parts of an item are that are not empty."""
        if item not in self.places:
            self.places[item] = self._extents(item)
        return self.places[item]

    def stream(self, item: int) -> int:
        """Return the number of an item's stream."""
        if item not in self.numbers:
            extents = self.extents(item)
            if not extents:
                raise UnreadableError
            self.numbers[item] = self.streams.number(extents)
        return self.numbers[item]

    def _extents(self, item: int) -> Extents:
        at = self.locations.get(item)
        if at is None:
            raise UnreadableError
        index_bytes, place_bytes, length_bytes = self.field_bytes
        table = Fields(self.body, at.table, len(self.body))
        base, end = at.base, len(self.body)
        if at.is_in_box:
            base, end = base + self.data[0], self.data[1]
        found = []
        for _ in range(self.budget.take(at.parts)):
            table.skip(index_bytes)
            start = base + table.read(place_bytes)
            length = table.read(length_bytes)
            if length:
                found.append((start, start + length))
                if at.is_in_box and start + length > end:
                    raise UnreadableError
        return tuple(found)

    def properties_of(self, item: int) -> tuple[tuple[Property, ...], bool]:
        """Return an item's properties, and whether it may be shown without those that are not known."""
        if item not in self.known:
            self.known[item] = self._properties_of(item)
        return self.known[item]

    def _properties_of(self, item: int) -> tuple[tuple[Property, ...], bool]:
        found: dict[bytes, Property] = {}
        is_known = True
        for number, is_essential in self._numbers(item):
            kind, (start, end) = self.properties[number]
            if kind not in KEPT:
                is_known = is_known and (kind in _KNOWN or not is_essential)
                continue
            content = self.contents.of(kind, (start, end))
            if content is None:
                continue
            one = Property(kind, content, is_essential)
            found.setdefault(one.key, one)
        return tuple(found.values()), is_known

    def _numbers(self, item: int) -> Iterator[tuple[int, bool]]:
        """Yield the numbers of an item's properties, from 0, and whether they are essential."""
        for owned in self.owned.get(item, ()):
            table = Fields(self.body, owned.table, len(self.body))
            bits = 8 * owned.number_bytes - 1
            self.budget.take(1 + owned.numbers)
            for _ in range(owned.numbers):
                word = table.read(owned.number_bytes)
                number = word & (1 << bits) - 1
                if number > len(self.properties):
                    raise UnreadableError
                if number:
                    yield number - 1, bool(word >> bits)


def item_picture(body: bytes, place: Place, budget: Budget, streams: Streams) -> Picture:
    """Return the picture of a box of metadata.

    Raises:
        UnreadableError: its boxes are damaged, or name no picture that is read.
        UnsupportedImageError: it has a property that a reader must know.
        BrokenImageError: its parts are not in the file.
    """
    items = _Items(body, budget, streams)
    found = first_boxes(body, (place[0] + 4, place[1]), budget)
    items.data = found.get(b"idat", (0, 0))
    for kind, read in _READERS.items():
        if kind in found:
            read(Fields(body, *found[kind]), items)
    belonging: dict[int, list[int]] = {}
    for item, owner in items.auxiliary.items():
        budget.take()
        belonging.setdefault(owner, []).append(item)
    color = _picture(items, items.primary)
    opacity = _opacity(items, belonging.get(items.primary, ()))
    if opacity is not None:
        number, picture = opacity
        is_multiplied = items.premultiplied.get(items.primary) == number
        return with_opacity(color, picture, is_premultiplied=is_multiplied)
    return _with_opacity_of_tiles(items, color, belonging)


def _with_opacity_of_tiles(
    items: _Items, color: Picture, belonging: dict[int, list[int]]
) -> Picture:
    """Return a grid whose tiles have an opacity each, if all of them have. Tiles may share one, which is found once."""
    tiles: list[Picture] = []
    known: dict[int, Picture] = {}
    for tile, item in zip(color.tiles, items.tiles.get(items.primary, ()), strict=False):
        items.budget.take()
        if item not in known:
            opacity = _opacity(items, belonging.get(item, ()))
            if opacity is None:
                return color
            known[item] = opacity[1]
        tiles.append(with_opacity(tile, _copy(items, known[item])))
    return replace(color, tiles=tuple(tiles))


def _picture(items: _Items, item: int) -> Picture:
    kind = items.kinds.get(item)
    if kind not in {CODED, GRID}:
        raise UnreadableError
    tiles: tuple[Picture, ...] = ()
    if kind == GRID:
        tiles = tuple(_tile(items, tile) for tile in items.tiles.get(item, ()))
    return _alone(items, item, kind, tiles)


def _tile(items: _Items, item: int) -> Picture:
    if items.kinds.get(item) != CODED:
        raise UnreadableError
    return _alone(items, item, CODED)


def _copy(items: _Items, picture: Picture) -> Picture:
    """Return the same picture as another object: each use of one is written on its own."""
    items.budget.take(_COPY_STEPS)
    return replace(picture, tiles=tuple(_copy(items, tile) for tile in picture.tiles))


def _alone(items: _Items, item: int, kind: bytes, tiles: tuple[Picture, ...] = ()) -> Picture:
    items.budget.take()
    properties, is_known = items.properties_of(item)
    if not is_known:
        raise UnsupportedImageError(
            "The AVIF has an essential property that is not read. Save it as a plain AVIF, or as PNG."
        )
    return Picture(kind, items.stream(item), properties, tiles)


def _opacity(items: _Items, candidates: "list[int] | tuple[()]") -> tuple[int, Picture] | None:
    """Return the first of these items that is an opacity; what a reader can not show is none."""
    for item in candidates:
        items.budget.take()
        if items.kinds.get(item) not in {CODED, GRID}:
            continue
        properties, is_known = items.properties_of(item)
        if is_known and is_opacity(properties) and items.extents(item):
            return item, _picture(items, item)
    return None


def _read_primary(table: Fields, items: _Items) -> None:
    items.primary = table.read(4 if table.head()[0] else 2)


def _read_kinds(table: Fields, items: _Items) -> None:
    table.skip(4 if table.head()[0] else 2)
    for kind, place in boxes(items.body, (table.place, table.end), items.budget):
        entry = Fields(items.body, *place)
        if kind != b"infe":
            continue
        version, _ = entry.head()
        if version >= 2:
            item = entry.read(2 if version == 2 else 4)
            entry.skip(2)
            items.kinds.setdefault(item, entry.read(4).to_bytes(4))


def _read_locations(table: Fields, items: _Items) -> None:
    version, _ = table.head()
    sizes = table.read(2)
    place_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    if not {place_bytes, length_bytes, base_bytes, index_bytes} <= _FIELD_BYTES:
        raise UnreadableError
    items.field_bytes = index_bytes, place_bytes, length_bytes
    number, method = _FORMATS[2 if version < 2 else 4], "H" if version else "0s"
    head = struct.Struct(f">{number}{method}2x{_FORMATS[base_bytes]}H")
    count, size = table.read(2 if version < 2 else 4), sum(items.field_bytes)
    for _ in range(items.budget.take(count)):
        item, way, base, parts = head.unpack_from(items.body, table.place)
        table.skip(head.size)
        kept = way & 15 if version else _IN_FILE
        if kept in {_IN_FILE, _IN_BOX} and item not in items.locations:
            items.locations[item] = _Location(table.place, parts, base or 0, kept == _IN_BOX)
        table.skip(parts * size)


def _read_references(table: Fields, items: _Items) -> None:
    size = 4 if table.head()[0] else 2
    targets = {b"auxl": items.auxiliary, b"prem": items.premultiplied}
    for kind, place in boxes(items.body, (table.place, table.end), items.budget):
        entry = Fields(items.body, *place)
        item, count = entry.read(size), items.budget.take(entry.read(2))
        if entry.end - entry.place != count * size:  # some readers go on behind the last one
            raise UnreadableError
        if kind != b"dimg" and kind not in targets:
            continue
        found = tuple(entry.read(size) for _ in range(count))
        if kind == b"dimg":
            items.tiles.setdefault(item, found)
        elif found:
            targets[kind][item] = found[-1]


def _read_properties(table: Fields, items: _Items) -> None:
    for kind, place in boxes(items.body, (table.place, table.end), items.budget):
        if kind == b"ipco":
            items.properties += boxes(items.body, place, items.budget)
        elif kind == b"ipma":
            _read_owned(Fields(items.body, *place), items)


def _read_owned(table: Fields, items: _Items) -> None:
    version, flags = table.head()
    head, number_bytes = struct.Struct(">IB" if version else ">HB"), 1 + (flags & 1)
    for _ in range(items.budget.take(table.read(4))):
        item, count = head.unpack_from(items.body, table.place)
        table.skip(head.size)
        items.owned.setdefault(item, []).append(_Owned(table.place, count, number_bytes))
        table.skip(count * number_bytes)


_READERS = {
    b"pitm": _read_primary,
    b"iloc": _read_locations,
    b"iinf": _read_kinds,
    b"iref": _read_references,
    b"iprp": _read_properties,
}
