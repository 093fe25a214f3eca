"""The tracks of an animated AVIF → the picture of their first frame: ISO/IEC 14496-12, 8; AV1-ISOBMFF, 2."""

import struct
from dataclasses import dataclass
from itertools import islice

from service.imaging.avif import (
    CODED,
    Contents,
    Picture,
    Property,
    Streams,
    is_opacity,
    with_opacity,
)
from service.imaging.avif_boxes import Budget, Fields, Place, UnreadableError, boxes, first_boxes

_ENTRY_BYTES = 78
"""Of a sample entry, before its properties."""
_KEPT = {
    b"av1C": (b"av1C", True),
    b"auxi": (b"auxC", False),
    b"colr": (b"colr", False),
    b"pasp": (b"pasp", False),
    b"clap": (b"clap", True),
    b"irot": (b"irot", True),
    b"imir": (b"imir", True),
}
"""The properties of a track, their names for an item, and whether they are essential to it."""
_OFFSET_BYTES = {b"stco": 4, b"co64": 8}


@dataclass(slots=True)
class _Track:
    """A track of AV1; `belongs_to` is the number of the one whose opacity it is, 0 where it has colors."""

    number: int
    size: tuple[int, int]
    entry: Place
    sample: Place
    belongs_to: int = 0
    multiplied_by: int = 0


def track_picture(body: bytes, place: Place, budget: Budget, streams: Streams) -> Picture:
    """Return the picture of the first frame of a box of tracks.

    Raises:
        UnreadableError: its boxes are damaged, or name no picture that is read.
        BrokenImageError: its parts are not in the file.
    """
    found = [
        _track(body, inside, budget)
        for kind, inside in boxes(body, place, budget)
        if kind == b"trak"
    ]
    tracks, contents = [track for track in found if track is not None], Contents(body)
    color = next((track for track in tracks if not track.belongs_to), None)
    if color is None:
        raise UnreadableError
    picture = _picture(body, color, contents, budget, streams)
    for track in tracks:
        budget.take()
        if track.belongs_to == color.number:
            opacity = _picture(body, track, contents, budget, streams)
            if is_opacity(opacity.properties):
                is_multiplied = color.multiplied_by == track.number
                return with_opacity(picture, opacity, is_premultiplied=is_multiplied)
    return picture


def _picture(
    body: bytes, track: _Track, contents: Contents, budget: Budget, streams: Streams
) -> Picture:
    properties = {
        b"ispe": Property(b"ispe", struct.pack(">4xII", *track.size), False)  # noqa: FBT003
    }
    start, end = track.entry
    for kind, (at, stop) in boxes(body, (start + _ENTRY_BYTES, end), budget):
        if kind not in _KEPT:
            continue
        name, is_essential = _KEPT[kind]
        content = contents.of(name, (at, stop))
        if content is not None:
            found = Property(name, content, is_essential)
            properties.setdefault(found.key, found)
    return Picture(CODED, streams.number((track.sample,)), tuple(properties.values()))


def _track(body: bytes, place: Place, budget: Budget) -> _Track | None:
    """Return a track of AV1, None for any other."""
    inner = first_boxes(body, place, budget)
    tables = inner
    for kind in (b"mdia", b"minf", b"stbl"):
        if kind not in tables:
            return None
        tables = first_boxes(body, tables[kind], budget)
    if not {b"stsd", b"stsz"} <= tables.keys() or b"tkhd" not in inner:
        return None
    entry = _entry(body, tables[b"stsd"], budget)
    sample = _first_sample(body, tables)
    if entry is None or sample is None:
        return None
    number, size = _number_and_size(Fields(body, *inner[b"tkhd"]))
    track = _Track(number, size, entry, sample)
    if b"tref" in inner:
        _read_references(body, inner[b"tref"], track, budget)
    return track if number else None


def _entry(body: bytes, place: Place, budget: Budget) -> Place | None:
    """Return the first description of AV1 (14496-12, 8.5.2)."""
    table = Fields(body, *place)
    table.skip(4)
    count = table.read(4)
    described = islice(boxes(body, (table.place, table.end), budget), count)
    return next((inside for kind, inside in described if kind == CODED), None)


def _number_and_size(header: Fields) -> tuple[int, tuple[int, int]]:
    """Return the number of a track, and its size in pixels (14496-12, 8.3.2)."""
    version, _ = header.head()
    time_bytes = 8 if version else 4
    header.skip(2 * time_bytes)
    number = header.read(4)
    header.skip(4 + time_bytes + 16 + 36)
    return number, (header.read(4) >> 16, header.read(4) >> 16)


def _read_references(body: bytes, place: Place, track: _Track, budget: Budget) -> None:
    for kind, inside in boxes(body, place, budget):
        if kind == b"auxl":
            track.belongs_to = Fields(body, *inside).read(4)
        elif kind == b"prem":
            track.multiplied_by = Fields(body, *inside).read(4)


def _first_sample(body: bytes, tables: dict[bytes, Place]) -> Place | None:
    """Return where the first sample is, which is that of the first chunk (14496-12, 8.7)."""
    sizes = Fields(body, *tables[b"stsz"])
    sizes.skip(4)
    size, count = sizes.read(4), sizes.read(4)
    size = size or (sizes.read(4) if count else 0)
    for kind, place_bytes in _OFFSET_BYTES.items():
        if kind in tables:
            chunks = Fields(body, *tables[kind])
            chunks.skip(4)
            if chunks.read(4) and size:
                start = chunks.read(place_bytes)
                return start, start + size
    return None
