"""A PNG's chunks → a PNG of only the frame that is displayed first; what pixels do not need is skipped, unread."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from service.errors import BrokenImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 100_000
"""Of a still image: 64 million pixels of 16 bits in chunks of 8 KiB, as libpng writes them, are 60,000. Each takes 3
microseconds and, where it has pixels, 420 bytes."""

_CONTROL_BYTES = 26
"""Of the content of an fcTL chunk."""

_MODES = {
    (1, 0): ("1", "1"),
    (2, 0): ("L", "L;2"),
    (4, 0): ("L", "L;4"),
    (8, 0): ("L", "L"),
    (16, 0): ("I;16", "I;16B"),
    (8, 2): ("RGB", "RGB"),
    (16, 2): ("RGB", "RGB;16B"),
    (1, 3): ("P", "P;1"),
    (2, 3): ("P", "P;2"),
    (4, 3): ("P", "P;4"),
    (8, 3): ("P", "P"),
    (8, 4): ("LA", "LA"),
    (16, 4): ("RGBA", "LA;16B"),
    (8, 6): ("RGBA", "RGBA"),
    (16, 6): ("RGBA", "RGBA;16B"),
}
"""Bit depth and color type (PNG, third edition, table 8) → Pillow's mode, and its name for how samples are stored."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_GRAY, _RGB, _PALETTE = 0, 2, 3
_MOST_COLORS = 256

_SEND_AGAIN = "Send the original file."


class Chunk(NamedTuple):
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


class Frame(NamedTuple):
    """The rectangle of a frame on its canvas, in pixels."""

    width: int
    height: int
    left: int
    top: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.width, self.top + self.height


class Png(NamedTuple):
    """The frame of a PNG that a browser displays first.

    The frame covers `box` of the canvas. `mode` is Pillow's for its pixels, `raw_mode` says how they are stored.
    `transparent` is the stored sample, or the R, G, B samples, that a gray or RGB image declares transparent; `palette`
    are the R, G, B values of a palette, `alpha` those of its colors. `exif` is the content of the eXIf chunk; `chunks`
    hold the frame's pixels.
    """

    canvas: tuple[int, int]
    box: tuple[int, int, int, int]
    depth: int
    pixel_bits: int
    mode: str
    raw_mode: str
    is_interlaced: bool
    transparent: tuple[int, ...] | None
    palette: bytes | None
    alpha: bytes | None
    exif: bytes
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of the frame."""
        left, top, right, bottom = self.box
        return right - left, bottom - top


@dataclass(slots=True)
class _Parts:
    """What is known from the chunks read so far."""

    header: Chunk
    palette: Chunk | None = None
    transparency: Chunk | None = None
    exif: bytes = b""
    pixels: list[Chunk] = field(default_factory=list)
    is_animated: bool = False
    frames: list[Frame | None] = field(default_factory=list)
    has_hidden_default: bool = False
    """The frames of the animation start behind the pixels of the image, which a browser then does not show."""
    frame_pixels: list[Chunk] = field(default_factory=list)


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
    palette, alpha = _palette(parts, 2**depth) if color == _PALETTE else (None, None)
    return Png(
        (width, height),
        frame.box,
        depth,
        depth * _CHANNELS[color],
        *_MODES[depth, color],
        bool(parts.header.data[12]),
        _transparent(parts.transparency, color, depth),
        palette,
        alpha,
        parts.exif,
        tuple(pixels),
    )


def _palette(parts: _Parts, size: int) -> tuple[bytes, bytes | None]:
    """Return the R, G, B values and the alpha of so many colors; a file's last one stands for those that it lacks."""
    colors = bytes(parts.palette.data) if parts.palette is not None else b""
    count = min(len(colors) // 3, size)
    if not count:
        raise BrokenImageError(f"The PNG has no palette (PLTE). {_SEND_AGAIN}")
    lacking = size - count
    palette = colors[: 3 * count] + colors[3 * count - 3 : 3 * count] * lacking
    if parts.transparency is None:
        return palette, None
    alpha = bytes(parts.transparency.data)[:count].ljust(count, b"\xff")
    return palette, alpha + alpha[-1:] * lacking


def chunks(body: bytes, most: int = MAX_CHUNKS) -> Iterator[Chunk]:
    """Yield the chunks of a PNG, the last one perhaps cut.

    Args:
        body: the file.
        most: how many it may have.

    Raises:
        BrokenImageError: no chunk is where one must be, or there are too many.
    """
    view = memoryview(body)
    place = len(SIGNATURE)
    for _ in range(most):
        if place + 8 > len(body):
            return
        length, kind = struct.unpack_from(">I4s", body, place)
        if not kind.isalpha():
            raise BrokenImageError(f"The PNG has no valid chunk at byte {place}. {_SEND_AGAIN}")
        start, end = place + 8, place + 8 + length
        place = end + 4
        checksum = int.from_bytes(view[end:place]) if place <= len(body) else None
        yield Chunk(kind, view[start:end], checksum)
    raise BrokenImageError(f"The PNG has more than {most} chunks. Encode it again.")


def count_chunks(body: bytes, most: int) -> int:
    """Return how many chunks a PNG has, or `most` where it has so many or more; where one is damaged they end."""
    place = len(SIGNATURE)
    for count in range(most):
        if place + 12 > len(body):
            return count
        place += 12 + int.from_bytes(body[place : place + 4])
    return most


def stream_bytes(body: bytes) -> int:
    """Return how many bytes the chunks have with the pixels of a PNG's image and of its first frame."""
    place, frames, found = len(SIGNATURE), 0, 0
    for _ in range(MAX_CHUNKS):
        if place + 12 > len(body):
            break
        length, kind = int.from_bytes(body[place : place + 4]), body[place + 4 : place + 8]
        if kind == b"IDAT" or (kind == b"fdAT" and frames == 1):
            found += min(length, len(body) - place)
        frames += kind == b"fcTL"
        place += 12 + length
    return found


def full_bytes(body: bytes) -> int:
    """Return how many bytes the pixels of a PNG's canvas take, by its header: each row with the byte of its filter."""
    width, height, depth, color = struct.unpack_from(">IIBB", body, 16)
    return int(height * (1 + (width * depth * _CHANNELS.get(color, 1) + 7) // 8))


def _collect(body: bytes) -> _Parts:
    found = chunks(body)
    header = next(found, None)
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
        for chunk in found:
            if chunk.kind == b"IEND":
                break
            _take(chunk, parts)
    except BrokenImageError:
        if not parts.pixels:
            raise
    return parts


def _take(chunk: Chunk, parts: _Parts) -> None:
    match chunk.kind:
        case b"IDAT":
            parts.has_hidden_default = parts.is_animated and not parts.frames
            parts.pixels.append(chunk)
        case b"fdAT" if len(parts.frames) == 1:
            parts.frame_pixels.append(chunk)
        case b"fcTL":
            parts.frames.append(frame_of(chunk, parts.header.data))
        case b"acTL" if not parts.pixels:
            parts.is_animated = True
        case b"PLTE":
            parts.palette = parts.palette or _sound(chunk)
        case b"tRNS" if parts.transparency is None and _has_meaning(chunk, parts):
            parts.transparency = chunk
        case b"eXIf" if chunk.is_whole:
            parts.exif = bytes(chunk.data)
        case b"IHDR":
            raise BrokenImageError(f"The PNG has a second header (IHDR). {_SEND_AGAIN}")
        case kind if kind[:1].isupper():
            name = kind.decode("ascii")
            raise BrokenImageError(f"The PNG needs the unknown chunk {name}. Send a standard PNG.")


def _has_meaning(chunk: Chunk, parts: _Parts) -> bool:
    """Return whether a tRNS chunk is used, as browsers do: of several the first that is whole and fits its image."""
    color, size = parts.header.data[9], len(chunk.data)
    if color == _PALETTE:
        fits = parts.palette is not None and size <= _MOST_COLORS
    else:
        fits = size >= 2 * _CHANNELS[color] if color in {_GRAY, _RGB} else False
    return fits and not parts.pixels and chunk.is_whole


def frame_of(control: Chunk, header: bytes | memoryview) -> Frame | None:
    """Return the frame that an fcTL chunk describes, None where the chunk is damaged or the frame is not on the canvas.

    Args:
        control: the chunk.
        header: the data of the file's IHDR chunk.
    """
    if len(control.data) < _CONTROL_BYTES or not control.is_whole:
        return None
    frame = Frame(*struct.unpack_from(">4I", control.data, 4))
    width, height = struct.unpack_from(">2I", header)
    inside = 0 < frame.width <= width - frame.left and 0 < frame.height <= height - frame.top
    return frame if inside else None


def _sound(chunk: Chunk) -> Chunk:
    if not chunk.is_whole:
        name = chunk.kind.decode("ascii")
        raise BrokenImageError(f"The PNG's chunk {name} is damaged or cut short. {_SEND_AGAIN}")
    return chunk


def _header(chunk: Chunk) -> tuple[int, int, int, int]:
    """Return width, height, bit depth and color type."""
    width, height, depth, color, compression, filters, interlace = struct.unpack_from(
        ">IIBBBBB", chunk.data
    )
    known = (depth, color) in _MODES and (compression, filters) == (0, 0) and interlace < 2
    if not known or not width or not height:
        raise BrokenImageError(
            f"The PNG's header is damaged: {width}×{height} pixels, {depth} bits of color type {color}. {_SEND_AGAIN}"
        )
    return width, height, depth, color


def _transparent(chunk: Chunk | None, color: int, depth: int) -> tuple[int, ...] | None:
    """Return the samples of the color that is transparent. Below 16 bits only the low byte counts, as in browsers."""
    count = {_GRAY: 1, _RGB: 3}.get(color, 0)
    if chunk is None or not count or len(chunk.data) < 2 * count:
        return None
    samples: tuple[int, ...] = struct.unpack_from(f">{count}H", chunk.data)
    return samples if depth == 16 else tuple(sample & 255 for sample in samples)
