"""A PNG's chunks → a PNG of only the frame that is displayed first; what pixels do not need is skipped, unread."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.errors import BrokenImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 200_000
"""A real file has at most a few chunks per row; each costs about a microsecond."""

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Color type → its bit depths (PNG, third edition, table 8)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_GRAY, _RGB, _PALETTE = 0, 2, 3

_CHECKED_BYTES = 8 << 20
"""Up to 4 MB of pixels, the checksum of the stream is always checked (a few ms): Pillow stops reading before it."""

_PIECE = 1 << 16
_SEND_AGAIN = "Send the original file."


class Frame(NamedTuple):
    """The rectangle of a frame on its canvas, in pixels."""

    width: int
    height: int
    left: int
    top: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class Png:
    """The frame of a PNG that a browser displays first.

    `body` is a PNG of this frame alone, without metadata; it covers `box` of the canvas. `transparent` is the stored
    sample, or the R, G, B samples, that a gray or RGB image declares transparent; `exif` is the content of its eXIf
    chunk; `pixels` are the chunks that hold the frame's pixels, for `check_pixels`.
    """

    body: bytes
    canvas: tuple[int, int]
    box: tuple[int, int, int, int]
    depth: int
    pixel_bits: int
    transparent: tuple[int, ...] | None
    exif: bytes
    pixels: "tuple[_Chunk, ...]"


class _Chunk(NamedTuple):
    kind: bytes
    data: memoryview
    checksum: int | None
    """None where the file ends before it."""

    @property
    def is_whole(self) -> bool:
        return self.checksum == zlib.crc32(self.data, zlib.crc32(self.kind))

    @property
    def pixels(self) -> memoryview:
        """The compressed pixels of an IDAT chunk, or of an fdAT chunk, which has a number before them."""
        return self.data[4:] if self.kind == b"fdAT" else self.data


@dataclass(slots=True)
class _Parts:
    """What the chunks of a file said so far."""

    header: _Chunk
    palette: _Chunk | None = None
    transparency: _Chunk | None = None
    exif: bytes = b""
    pixels: list[_Chunk] = field(default_factory=list)
    is_animated: bool = False
    frames: list[Frame | None] = field(default_factory=list)
    has_hidden_default: bool = False
    """The frames of the animation start behind the pixels of the image, which a browser then does not show."""
    frame_pixels: list[_Chunk] = field(default_factory=list)


def first_frame(body: bytes) -> Png:
    """Return the frame that is displayed first.

    Text, color profiles and everything else that does not change the pixels is neither inflated nor checked.

    Raises:
        BrokenImageError: a chunk that the pixels need is missing or damaged.
    """
    parts = _collect(body)
    width, height, depth, color = _header(parts.header)
    frame = Frame(width, height, 0, 0)
    pixels = parts.pixels
    if parts.has_hidden_default and parts.frames and parts.frames[0] is not None:
        frame, pixels = parts.frames[0], parts.frame_pixels
    if not pixels:
        raise BrokenImageError(
            f"The PNG has no pixels in its {len(body)} bytes. It is damaged or cut short. {_SEND_AGAIN}"
        )
    if color == _PALETTE and parts.palette is None:
        raise BrokenImageError(f"The PNG has no palette (PLTE). {_SEND_AGAIN}")
    return Png(
        b"".join(_encoded(parts, frame, pixels)),
        (width, height),
        frame.box,
        depth,
        depth * _CHANNELS[color],
        _transparent(parts.transparency, color, depth),
        parts.exif,
        tuple(pixels),
    )


def _encoded(parts: _Parts, frame: Frame, pixels: Sequence[_Chunk]) -> Iterator[bytes | memoryview]:
    """Give the pieces of a PNG of this frame. Its readers do not check the checksums of pixels: they are zero."""
    header = struct.pack(">II", frame.width, frame.height) + bytes(parts.header.data[8:13])
    yield SIGNATURE
    yield from _written(b"IHDR", header)
    if parts.palette is not None:
        yield from _written(b"PLTE", parts.palette.data)
        if parts.transparency is not None:
            yield from _written(b"tRNS", parts.transparency.data)
    for chunk in pixels:
        yield from (struct.pack(">I", len(chunk.pixels)), b"IDAT", chunk.pixels, b"\0\0\0\0")
    yield from _written(b"IEND", b"")


def check_pixels(image: Png) -> None:
    """Compare the checksums of the chunks, and the one of the stream in them, with the pixels.

    Wrong checksums of chunks alone do not refuse an image, if that of the stream is right. Where the file ends within a
    chunk, decoding tells whether pixels are missing.

    Raises:
        BrokenImageError: the pixels are damaged.
    """
    left, top, right, bottom = image.box
    row = (right - left) * image.pixel_bits // 8 + 8
    size = row * (bottom - top) * 2  # more than interlacing adds
    are_whole = all(chunk.is_whole for chunk in image.pixels if chunk.checksum is not None)
    is_cut = any(chunk.checksum is None for chunk in image.pixels)
    if are_whole and (is_cut or size > _CHECKED_BYTES):
        return
    if not _is_sound(image.pixels, size):
        raise BrokenImageError(
            f"The PNG's pixels are damaged: their checksum is not the one that the file says. {_SEND_AGAIN}"
        )


def _is_sound(pixels: Sequence[_Chunk], size: int) -> bool:
    stream = zlib.decompressobj()
    try:
        for chunk in pixels:
            data: bytes | memoryview = chunk.pixels
            while data and size > 0 and not stream.eof:
                size -= len(stream.decompress(data, _PIECE))
                data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def _chunks(body: bytes) -> Iterator[_Chunk]:
    view = memoryview(body)
    place = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(body):
            return
        length, kind = struct.unpack_from(">I4s", body, place)
        if not kind.isalpha():
            raise BrokenImageError(f"The PNG has no valid chunk at byte {place}. {_SEND_AGAIN}")
        start, end = place + 8, place + 8 + length
        place = end + 4
        checksum = int.from_bytes(view[end:place]) if place <= len(body) else None
        yield _Chunk(kind, view[start:end], checksum)
    raise BrokenImageError(f"The PNG has more than {MAX_CHUNKS} chunks. Encode it again.")


def _collect(body: bytes) -> _Parts:
    chunks = _chunks(body)
    header = next(chunks, None)
    if header is None or header.kind != b"IHDR" or len(header.data) < 13:  # IHDR
        if header is not None and header.kind == b"CgBI":
            raise BrokenImageError(
                "The PNG is in Apple's own form for apps (chunk CgBI), not a standard PNG. Convert it with "
                "pngcrush -revert-iphone-optimizations, or send the original file."
            )
        raise BrokenImageError(
            f"The PNG has no whole header (IHDR) in its {len(body)} bytes; it is cut short. {_SEND_AGAIN}"
        )
    if header.checksum is None:
        raise BrokenImageError(
            f"The PNG ends after {len(body)} bytes, within its header. It is cut short. {_SEND_AGAIN}"
        )
    parts = _Parts(_sound(header))
    try:
        for chunk in chunks:
            if chunk.kind == b"IEND":
                break
            _take(chunk, parts)
    except BrokenImageError:
        if not parts.pixels:
            raise
    return parts


def _take(chunk: _Chunk, parts: _Parts) -> None:
    match chunk.kind:
        case b"IDAT":
            parts.has_hidden_default = parts.is_animated and not parts.frames
            parts.pixels.append(chunk)
        case b"fdAT" if len(parts.frames) == 1:
            parts.frame_pixels.append(chunk)
        case b"fcTL":
            parts.frames.append(_frame(chunk, parts.header))
        case b"acTL" if not parts.pixels:
            parts.is_animated = True
        case b"PLTE":
            parts.palette = parts.palette or _sound(chunk)
        case b"tRNS" if chunk.is_whole and not parts.pixels:
            parts.transparency = chunk
        case b"eXIf" if chunk.is_whole:
            parts.exif = bytes(chunk.data)
        case kind if kind[:1].isupper():
            name = kind.decode("ascii")
            raise BrokenImageError(f"The PNG needs the unknown chunk {name}. Send a standard PNG.")


def _frame(chunk: _Chunk, header: _Chunk) -> Frame | None:
    """Return the frame that an fcTL chunk describes, None where it is not on the canvas."""
    if len(chunk.data) < 26:  # the length of fcTL
        return None
    frame = Frame(*struct.unpack_from(">4I", chunk.data, 4))
    width, height, _, _ = _header(header)
    inside = 0 < frame.width <= width - frame.left and 0 < frame.height <= height - frame.top
    return frame if inside and chunk.is_whole else None


def _sound(chunk: _Chunk) -> _Chunk:
    if not chunk.is_whole:
        name = chunk.kind.decode("ascii")
        raise BrokenImageError(f"The PNG's chunk {name} is damaged or cut short. {_SEND_AGAIN}")
    return chunk


def _header(chunk: _Chunk) -> tuple[int, int, int, int]:
    """Return width, height, bit depth and color type."""
    width, height, depth, color, compression, filters, interlace = struct.unpack_from(
        ">IIBBBBB", chunk.data
    )
    known = depth in _DEPTHS.get(color, ()) and (compression, filters) == (0, 0) and interlace < 2
    if not known or not width or not height:
        raise BrokenImageError(
            f"The PNG's header is damaged: {width}×{height} pixels, {depth} bits of color type {color}. {_SEND_AGAIN}"
        )
    return width, height, depth, color


def _transparent(chunk: _Chunk | None, color: int, depth: int) -> tuple[int, ...] | None:
    """Return the samples of the color that is transparent. Below 16 bits only the low byte counts, as in browsers."""
    count = {_GRAY: 1, _RGB: 3}.get(color, 0)
    if chunk is None or not count or len(chunk.data) < 2 * count:
        return None
    samples: tuple[int, ...] = struct.unpack_from(f">{count}H", chunk.data)
    return samples if depth == 16 else tuple(sample & 255 for sample in samples)


def _written(kind: bytes, data: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
