"""An AVIF → what its first frame needs: streams of AV1 and few properties. What else it holds is skipped, unread."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.errors import BrokenImageError
from service.imaging.avif_boxes import MOST_PROPERTY_BYTES, Place, UnreadableError

MOST_PICTURES = 2048
"""Tiles, their opacity, and what they make together: libavif goes through all of them once for each."""

CODED, GRID = b"av01", b"grid"
"""The kinds of pictures: a stream of AV1, or one that consists of others (ISO/IEC 23008-12, 6.6.2.3)."""

PROFILES = (b"prof", b"rICC")
"""The kinds of `colr` that are a profile (ISO/IEC 14496-12, 12.1.5)."""

_OPACITY = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_COLORS = (*PROFILES, b"nclx")

Extents = tuple[Place, ...]
"""Where the parts of a stream begin and end."""


class Property(NamedTuple):
    """Content of a property, e.g. `irot`; a reader must know it where it is essential (ISO/IEC 23008-12, 9.3).

    Where the contents of two properties of a file are equal, they are one object: to compare long ones takes no time.
    """

    kind: bytes
    content: bytes
    is_essential: bool

    @property
    def key(self) -> bytes:
        """What a picture has only one of: of colors, a profile and numbers."""
        if self.kind != b"colr":
            return self.kind
        form = self.content[:4]
        return PROFILES[0] if form in PROFILES else form


class Contents:
    """The contents of the properties of a file; equal ones are kept once.

    Args:
        body: the file.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._found: dict[Place, bytes | None] = {}
        self._same: dict[bytes, bytes] = {}

    def of(self, kind: bytes, place: Place) -> bytes | None:
        """Return the content of a property that is kept; None of a `colr` whose form nobody reads.

        Raises:
            UnreadableError: it is longer than any is.
        """
        if place not in self._found:
            self._found[place] = self._read(kind, *place)
        return self._found[place]

    def _read(self, kind: bytes, start: int, end: int) -> bytes | None:
        form = self._body[start : min(end, start + 4)] if kind == b"colr" else b""
        if kind == b"colr" and form not in _COLORS:
            return None
        if end - start > MOST_PROPERTY_BYTES and form not in PROFILES:
            raise UnreadableError
        content = self._body[start:end]
        return self._same.setdefault(content, content)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of one stream, or of tiles.

    Attributes:
        kind: `CODED` or `GRID`.
        stream: the number of its stream; that of a grid says how many tiles it has.
        properties: at most one of each kind.
        tiles: row by row.
        opacity: of this picture.
        is_premultiplied: whether colors are multiplied by the opacity.
    """

    kind: bytes
    stream: int
    properties: tuple[Property, ...]
    tiles: tuple["Picture", ...] = ()
    opacity: "Picture | None" = None
    is_premultiplied: bool = False

    def __iter__(self) -> Iterator["Picture"]:
        """Yield the picture and all those that it consists of."""
        yield self
        for tile in self.tiles:
            yield from tile
        if self.opacity is not None:
            yield from self.opacity

    @property
    def size(self) -> tuple[int, int] | None:
        """The width and height, as its boxes say."""
        content = next((one.content for one in self.properties if one.kind == b"ispe"), b"")
        if len(content) < 12:
            return None
        return int.from_bytes(content[4:8]), int.from_bytes(content[8:12])


def with_opacity(picture: Picture, opacity: Picture, *, is_premultiplied: bool = False) -> Picture:
    """Return the picture with an opacity."""
    return replace(picture, opacity=opacity, is_premultiplied=is_premultiplied)


def is_opacity(properties: Iterable[Property]) -> bool:
    """Return whether a picture of these properties is the opacity of another one."""
    kind = next((one.content[4:] for one in properties if one.kind == b"auxC"), b"")
    return kind.split(b"\0", 1)[0] in _OPACITY  # it is short, as all but profiles


class Avif(NamedTuple):
    """The first frame: its picture, its size by the boxes, and the streams that pictures name by number.

    Each of its pictures has few properties, at most one of a kind.
    """

    picture: Picture
    size: tuple[int, int]
    streams: tuple[memoryview, ...]

    @property
    def profile_bytes(self) -> int:
        """The bytes of color profiles."""
        colors = {
            one.content
            for part in self.picture
            for one in part.properties
            if one.kind == b"colr" and one.content[:4] in PROFILES
        }
        return sum(len(content) - len(PROFILES[0]) for content in colors)


class Streams:
    """The streams of a file; one that several pictures share is kept once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._numbers: dict[Extents, int] = {}
        self._left = len(body)
        self.found: list[memoryview] = []

    def number(self, extents: Extents) -> int:
        """Return the number of the stream that has these parts.

        Raises:
            BrokenImageError: a part is not in the file, or streams have more bytes than the file.
        """
        if extents not in self._numbers:
            self._numbers[extents] = len(self.found)
            self.found.append(self._joined(extents))
        return self._numbers[extents]

    def _joined(self, extents: Extents) -> memoryview:
        if any(end > len(self._body) for _, end in extents):
            raise BrokenImageError(
                "The AVIF is damaged or cut short: it has fewer pixels than its header says. Send the whole file."
            )
        self._left -= sum(end - start for start, end in extents)
        if self._left < 0:
            raise BrokenImageError("Parts of the AVIF lie over each other. Encode it again.")
        if len(extents) == 1:
            start, end = extents[0]
            return memoryview(self._body)[start:end]
        return memoryview(b"".join(self._body[start:end] for start, end in extents))
