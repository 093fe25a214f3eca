"""An AVIF's boxes → how many pixels are decoded for its first frame, whatever size the boxes say: ISO/IEC 14496-12."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field

from service.errors import BrokenImageError
from service.imaging.av1_frames import MOST_UNITS, Frames, frames_of

MOST_BOXES = 200_000
"""Beside each other."""
MOST = {
    "items": 2048,
    "places of items": 2048,
    "items with properties": 2048,
    "references": 4096,
    "parts of items": 200_000,
    "properties of items": 65_536,
    "runs of chunks": 10_000,
}
"""What the tables of a file may have together: libavif goes through its items once for each entry, and took 9 s for
65,000 places in 390 kB. It copies properties and notes parts, whose entries may have no bytes."""
MOST_SAMPLES = 200_000
"""As the tables of chunks say, which need no bytes for each: libavif holds 130 bytes for one."""
MOST_CHUNK_STEPS = 10_000_000
"""libavif goes through the runs of chunks once for each chunk."""

_TILED_KINDS = frozenset({b"dimg", b"auxl"})
_IN_FILE, _IN_BOX = 0, 1
_OFFSET_BYTES = {b"stco": 4, b"co64": 8}
_Extents = tuple[tuple[int, int], ...]
"""Where the parts of a stream begin, and their bytes."""
_Place = tuple[int, int]
"""Where something begins and ends."""


class _Tables:
    """Counts the entries of all tables of a file."""

    def __init__(self) -> None:
        self._left = dict(MOST)
        self.chunks = self.runs = self.samples = 0

    def take(self, what: str, count: int = 1) -> int:
        """Count entries.

        Raises:
            BrokenImageError: there are more than any image has.
        """
        self._left[what] -= count
        if self._left[what] < 0:
            raise _too_many(what, MOST[what])
        return count

    def require_few_samples(self) -> None:
        """Refuse tracks whose chunks take more than those of films."""
        if self.chunks * self.runs > MOST_CHUNK_STEPS:
            raise _too_many("steps from chunk to chunk", MOST_CHUNK_STEPS)
        if self.chunks * self.samples > MOST_SAMPLES:
            raise _too_many("frames", MOST_SAMPLES)


@dataclass(slots=True)
class _Items:
    """The items of a box of metadata: where their bytes are, and which ones belong to the one that is shown."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)
    """Item → the tiles that it consists of, and those that hold its opacity."""


def coded_frames(body: bytes) -> Frames:
    """Return what is decoded for the first frame of an AVIF: the pixels at once, and with all layers.

    Raises:
        BrokenImageError: it has more items, entries, frames or units than any image, or its parts lie over each other.
    """
    tables, found = _Tables(), [Frames(0, 0)]
    with suppress(struct.error, IndexError):  # what is cut is not decoded
        for kind, (start, end) in _boxes(body, 0, len(body)):
            if kind == b"meta":
                found.append(_sum(body, _item_streams(body, start, end, tables)))
            elif kind == b"moov":
                found.append(_sum(body, _track_streams(body, start, end, tables)))
    return max(found)


def beside_canvas(coded: Frames, canvas: int) -> Frames:
    """Return what an AVIF counts for: its canvas, and what more is decoded; opacity of its size does not count.

    Args:
        coded: by its AV1 frames.
        canvas: how many pixels it has by its boxes.
    """
    return Frames(max(canvas, coded.largest - canvas), max(canvas, coded.total - canvas))


def _sum(body: bytes, streams: Iterator[_Extents]) -> Frames:
    """Return what streams take together; one that several items share is read once."""
    largest = total = units = read = 0
    known: dict[_Extents, Frames] = {}
    for extents in streams:
        if extents not in known:
            read += sum(length for _, length in extents)
            if read > len(body):
                raise BrokenImageError("Parts of the AVIF lie over each other. Encode it again.")
            stream = b"".join(body[place : place + length] for place, length in extents)
            known[extents] = frames_of(stream, MOST_UNITS - units)
            units += known[extents].units
        one = known[extents]
        largest, total = largest + one.largest, total + one.total
    return Frames(largest, total)


def _boxes(body: bytes, place: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the kinds of boxes beside each other, and where their content begins and ends."""
    for _ in range(MOST_BOXES):
        if place + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", body, place)
        start = place + 8
        if size == 1:
            size, start = int.from_bytes(body[start : start + 8]), start + 8
        stop = min(end, place + size) if size else end
        if stop < start:
            return
        yield kind, (start, stop)
        place = stop
    raise _too_many("boxes", MOST_BOXES)


def _too_many(what: str, most: int) -> BrokenImageError:
    return BrokenImageError(f"The AVIF has more than {most} {what}. Encode it again.")


def _inner(body: bytes, place: tuple[int, int]) -> dict[bytes, tuple[int, int]]:
    """Return where the first box of each kind is."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, inside in _boxes(body, *place):
        found.setdefault(kind, inside)
    return found


def _item_streams(body: bytes, start: int, end: int, tables: _Tables) -> Iterator[_Extents]:
    """Yield where the streams are of the primary item, its tiles and its opacity."""
    items = _read_items(body, start, end, tables)
    seen, waiting = set(), [items.primary]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        waiting += items.parts.get(item, ())
        if items.kinds.get(item) == b"av01":
            yield tuple(items.extents.get(item, ()))


def _read_items(body: bytes, start: int, end: int, tables: _Tables) -> _Items:
    """Read the tables of a box of metadata."""
    items = _Items()
    inner = _inner(body, (start + 4, end))
    for kind, read in _READERS.items():
        if kind in inner:
            read(_Reader(body, *inner[kind]), items, tables)
    if b"iloc" in inner:
        data = inner.get(b"idat", (0, 0))[0]
        _read_places(_Reader(body, *inner[b"iloc"]), items, tables, data)
    return items


@dataclass(slots=True)
class _Reader:
    """Numbers of a box, the highest byte first."""

    body: bytes
    place: int
    end: int
    skip: InitVar[int] = 0

    def __post_init__(self, skip: int) -> None:
        self.place += skip

    def read(self, size: int) -> int:
        start, self.place = self.place, self.place + size
        if self.place > self.end:
            raise IndexError
        return int.from_bytes(self.body[start : self.place])

    def version(self) -> int:
        """Read the version and the flags."""
        return self.read(4) >> 24


def _read_primary(reader: _Reader, items: _Items, _: _Tables) -> None:
    items.primary = reader.read(4 if reader.version() else 2)


def _read_kinds(reader: _Reader, items: _Items, tables: _Tables) -> None:
    reader.read(4 if reader.version() else 2)
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        if kind == b"infe":
            tables.take("items")
            entry = _Reader(reader.body, start, end)
            item = entry.read(4 if entry.version() > 2 else 2)
            entry.read(2)
            items.kinds[item] = entry.read(4).to_bytes(4)


def _read_references(reader: _Reader, items: _Items, tables: _Tables) -> None:
    size = 4 if reader.version() else 2
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        one = _Reader(reader.body, start, end)
        source, count = one.read(size), one.read(2)
        tables.take("references", 1 + count)
        for _ in range(count if kind in _TILED_KINDS else 0):
            target = one.read(size)
            whole, part = (source, target) if kind == b"dimg" else (target, source)
            items.parts.setdefault(whole, []).append(part)


def _read_properties(reader: _Reader, _items: _Items, tables: _Tables) -> None:
    """Count which items have properties, and how many."""
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        if kind != b"ipma":
            continue
        table = _Reader(reader.body, start, end)
        head = table.read(4)
        id_size, size = 4 if head >> 24 else 2, 1 + (head & 1)
        for _ in range(tables.take("items with properties", table.read(4))):
            table.read(id_size)
            table.read(size * tables.take("properties of items", table.read(1)))


def _read_places(reader: _Reader, items: _Items, tables: _Tables, data: int) -> None:
    version = reader.version()
    sizes = reader.read(2)
    offset_size, length_size, base_size, index_size = (
        sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
    )  # fmt: skip
    for _ in range(tables.take("places of items", reader.read(4 if version > 1 else 2))):
        item = reader.read(4 if version > 1 else 2)
        method = reader.read(2) & 15 if version else _IN_FILE
        reader.read(2)
        base = reader.read(base_size) + (data if method == _IN_BOX else 0)
        extents = items.extents.setdefault(item, [])
        for _ in range(tables.take("parts of items", reader.read(2))):
            reader.read(index_size)
            place = base + reader.read(offset_size)
            extents.append((place, reader.read(length_size)))


_READERS: dict[bytes, Callable[[_Reader, _Items, _Tables], None]] = {
    b"pitm": _read_primary,
    b"iinf": _read_kinds,
    b"iref": _read_references,
    b"iprp": _read_properties,
}


def _track_streams(body: bytes, start: int, end: int, tables: _Tables) -> Iterator[_Extents]:
    """Yield where the first sample is of each track of AV1."""
    for track in _within(body, [(start, end)], b"trak"):
        for place in _within(body, [track], b"meta"):
            _read_items(body, *place, tables)
        media = [track]
        for kind in (b"mdia", b"minf", b"stbl"):
            media = list(_within(body, media, kind))
        described = list(_within(body, media, b"stsd"))
        if not any(b"av01" in body[place[0] : place[1]] for place in described):
            continue
        _count_samples(body, media, tables)
        table = _inner(body, media[0])
        name = next((one for one in table if one in _OFFSET_BYTES), b"")
        if name and b"stsz" in table:
            offset = _Reader(body, *table[name], skip=8).read(_OFFSET_BYTES[name])
            size = _first_size(_Reader(body, *table[b"stsz"], skip=4))
            yield ((offset, min(size, max(0, len(body) - offset))),)


def _within(body: bytes, places: Iterable[_Place], wanted: bytes) -> Iterator[_Place]:
    """Yield the content of all boxes of a kind that lie directly in these places."""
    for place in places:
        for kind, inside in _boxes(body, *place):
            if kind == wanted:
                yield inside


def _count_samples(body: bytes, media: Sequence[_Place], tables: _Tables) -> None:
    """Count what a reader does for the chunks of a track, of which several tables are one."""
    for name in _OFFSET_BYTES:
        for place in _within(body, media, name):
            tables.chunks += _Reader(body, *place, skip=4).read(4)
    for place in _within(body, media, b"stsc"):
        table = _Reader(body, *place, skip=4)
        count = tables.take("runs of chunks", table.read(4))
        tables.runs += count
        for _ in range(count):
            table.read(4)
            tables.samples = max(tables.samples, table.read(4))
            table.read(4)
    tables.require_few_samples()


def _first_size(sizes: _Reader) -> int:
    """Return the bytes of the first sample: those of all, or those of a table."""
    size_of_all, count = sizes.read(4), sizes.read(4)
    return size_of_all or (sizes.read(4) if count else 0)
