"""An AVIF's boxes → how many pixels are decoded for its first frame, whatever size the boxes say: ISO/IEC 14496-12."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field

from service.errors import BrokenImageError
from service.imaging.av1_frames import MOST_UNITS, Frames, frames_of

MOST_ENTRIES = 200_000
"""Boxes beside each other, and parts of all items."""
MOST_ITEMS = 2048
"""Tiles, and what else has a place in a table of items: libavif goes through the tables once for each, and took 9 s for
65,000."""
MOST_CHUNK_STEPS = 10_000_000
"""Of a track: libavif goes through the runs of its chunks once for each chunk."""

_TILED_KINDS = frozenset({b"dimg", b"auxl"})
_IN_FILE, _IN_BOX = 0, 1
_OFFSET_BYTES = {b"stco": 4, b"co64": 8}
_Extents = tuple[tuple[int, int], ...]
"""Where the parts of a stream begin, and their bytes."""


@dataclass(slots=True)
class _Items:
    """The items of a file: where their bytes are, and which ones belong to the one that is shown."""

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
    top = _inner(body, (0, len(body)))
    found = [Frames(0, 0)]
    try:
        if b"meta" in top:
            found.append(_sum(body, _item_streams(body, *top[b"meta"])))
        if b"moov" in top:
            found.append(_sum(body, _track_streams(body, *top[b"moov"])))
    except (struct.error, IndexError):  # what is cut is not decoded
        pass
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
    for _ in range(MOST_ENTRIES):
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
    raise _too_many("boxes")


def _too_many(what: str, most: int = MOST_ENTRIES) -> BrokenImageError:
    return BrokenImageError(f"The AVIF has more than {most} {what}. Encode it again.")


def _inner(body: bytes, place: tuple[int, int]) -> dict[bytes, tuple[int, int]]:
    """Return where the first box of each kind is."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, inside in _boxes(body, *place):
        found.setdefault(kind, inside)
    return found


def _item_streams(body: bytes, start: int, end: int) -> Iterator[_Extents]:
    """Yield where the streams are of the primary item, its tiles and its opacity."""
    items = _read_items(body, start, end)
    seen, waiting = set(), [items.primary]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        waiting += items.parts.get(item, ())
        if items.kinds.get(item) == b"av01":
            yield tuple(items.extents.get(item, ()))


def _read_items(body: bytes, start: int, end: int) -> _Items:
    """Read the tables of items of a box of metadata."""
    items = _Items()
    inner = _inner(body, (start + 4, end))
    for kind, read in _READERS.items():
        if kind in inner:
            read(_Reader(body, *inner[kind]), items)
    data = inner.get(b"idat", (0, 0))
    if b"iloc" in inner:
        _read_places(_Reader(body, *inner[b"iloc"]), items, data[0])
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

    def count(self, size: int, most: int = MOST_ITEMS) -> int:
        count = self.read(size)
        if count > most:
            raise _too_many("items", most)
        return count


def _read_primary(reader: _Reader, items: _Items) -> None:
    items.primary = reader.read(4 if reader.version() else 2)


def _read_kinds(reader: _Reader, items: _Items) -> None:
    reader.read(4 if reader.version() else 2)
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        if kind == b"infe":
            entry = _Reader(reader.body, start, end)
            item = entry.read(4 if entry.version() > 2 else 2)
            entry.read(2)
            items.kinds[item] = entry.read(4).to_bytes(4)
            if len(items.kinds) > MOST_ITEMS:
                raise _too_many("items", MOST_ITEMS)


def _read_properties(reader: _Reader, _: _Items) -> None:
    """Count which items have properties."""
    count = 0
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        if kind == b"ipma":
            table = _Reader(reader.body, start, end, skip=4)
            count += table.count(4)
            if count > MOST_ITEMS:
                raise _too_many("items", MOST_ITEMS)


def _read_references(reader: _Reader, items: _Items) -> None:
    size = 4 if reader.version() else 2
    left = 2 * MOST_ITEMS
    for kind, (start, end) in _boxes(reader.body, reader.place, reader.end):
        one = _Reader(reader.body, start, end)
        source, count = one.read(size), one.count(2)
        left -= 1 + count
        if left < 0:
            raise _too_many("references", 2 * MOST_ITEMS)
        if kind not in _TILED_KINDS:
            continue
        for _ in range(count):
            target = one.read(size)
            whole, part = (source, target) if kind == b"dimg" else (target, source)
            items.parts.setdefault(whole, []).append(part)


def _read_places(reader: _Reader, items: _Items, data: int) -> None:
    version = reader.version()
    sizes = reader.read(2)
    offset_size, length_size, base_size, index_size = (
        sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
    )  # fmt: skip
    left = MOST_ENTRIES
    for _ in range(reader.count(4 if version > 1 else 2)):
        item = reader.read(4 if version > 1 else 2)
        method = reader.read(2) & 15 if version else _IN_FILE
        reader.read(2)
        base = reader.read(base_size) + (data if method == _IN_BOX else 0)
        count = reader.read(2)
        left -= count
        if left < 0:
            raise _too_many("parts")
        extents = items.extents.setdefault(item, [])
        for _ in range(count):
            reader.read(index_size)
            place = base + reader.read(offset_size)
            extents.append((place, reader.read(length_size)))


_READERS: dict[bytes, Callable[[_Reader, _Items], None]] = {
    b"pitm": _read_primary,
    b"iinf": _read_kinds,
    b"iref": _read_references,
    b"iprp": _read_properties,
}


def _track_streams(body: bytes, start: int, end: int) -> Iterator[_Extents]:
    """Yield where the first sample is of each track of AV1."""
    for kind, place in _boxes(body, start, end):
        if kind != b"trak":
            continue
        inner = place
        if (own := _inner(body, inner).get(b"meta")) is not None:
            _read_items(body, *own)
        for name in (b"mdia", b"minf", b"stbl"):
            inner = _inner(body, inner).get(name, (0, 0))
        table = _inner(body, inner)
        name = next((one for one in table if one in _OFFSET_BYTES), b"")
        if not name or not {b"stsd", b"stsz"} <= table.keys():
            continue
        described = table[b"stsd"]
        if b"av01" in body[described[0] : described[1]]:
            _check_chunks(body, table[name], table.get(b"stsc", (0, 0)))
            offset = _Reader(body, *table[name], skip=8).read(_OFFSET_BYTES[name])
            size = _first_size(_Reader(body, *table[b"stsz"], skip=4))
            yield ((offset, min(size, max(0, len(body) - offset))),)


def _check_chunks(body: bytes, chunks: tuple[int, int], runs: tuple[int, int]) -> None:
    """Refuse a track with many runs of many chunks."""
    steps = 1
    for place in (chunks, runs):
        if place[1] - place[0] >= 8:
            steps *= max(1, _Reader(body, *place, skip=4).read(4))
    if steps > MOST_CHUNK_STEPS:
        raise BrokenImageError("The AVIF has too many runs of chunks. Encode it again.")


def _first_size(sizes: _Reader) -> int:
    """Return the bytes of the first sample: those of all, or those of a table."""
    size_of_all, count = sizes.read(4), sizes.read(4)
    return size_of_all or (sizes.read(4) if count else 0)
