"""How many pixels an encoded image has by its header: what a request may hold is bounded before anything is decoded."""

import struct
from io import BytesIO
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from service.errors import ImageError
from service.imaging import png, tiff
from service.imaging.avif_boxes import Budget
from service.imaging.avif_first_frame import first_frame
from service.imaging.avif_frames import decoded
from service.imaging.deadline import GoOn, without_end
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.formats import FORMATS, format_of
from service.imaging.jpeg_file import open_jpeg
from service.imaging.jpeg_header import JPEG_START, MAX_SEGMENTS, without_filling
from service.imaging.metadata import GIF_BLOCK_BYTES, MAX_METADATA_BYTES, metadata_bytes
from service.imaging.unread import TIFF_STARTS
from service.imaging.work_weights import (
    AVIF_BYTE_WORK,
    AVIF_STEP_WORK,
    VIDEO_FIFTHS,
    blocks_work,
    segments_work,
)

MOST_SEGMENTS = 200
"""Of a JPEG, before its size; photographs have about ten, and up to a hundred with a large color profile."""


HEADER_BYTES = 30
"""Of a PNG, a BMP or a WebP, with its size."""
_OS2_HEADER_BYTES = 12

_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""The markers of the segments that state a JPEG's size (ITU-T T.81, table B.1)."""
_BEFORE_PIXELS = frozenset({0xDA, 0xD9})


class JpegFrame(NamedTuple):
    """What a JPEG says before its first scan.

    Attributes:
        pixels: the most of all frames.
        kind: the marker of its last frame.
        components: of that frame.
        scan: the place of its first scan, or of its end.
        segments: how many it has up to there.
    """

    pixels: int
    kind: int
    components: int
    scan: int
    segments: int


class Announced(NamedTuple):
    """The pixels of an image by its header, and what decoding takes, as so many.

    Of a JPEG `read_header` counts only its segments as work, and what it knows by a few bytes is work of none.
    """

    pixels: int
    work: int


def quick_pixels(image: bytes) -> int | None:
    """Return the pixels of an image in a few microseconds; None where it takes a reader to know them."""
    if image.startswith(JPEG_START):
        frame = jpeg_frame(image)
        return None if frame is None else frame.pixels
    if len(image) < HEADER_BYTES:
        return None
    if image.startswith(png.SIGNATURE):
        width, height = struct.unpack_from(">II", image, 16)
        return int(width * height) if image[12:16] == b"IHDR" else None
    if image.startswith(b"BM"):
        return _bmp_pixels(image)
    # The first frame of a GIF may be larger than its canvas, and lies behind what only a reader skips as Pillow does.
    return _webp_pixels(image) if image.startswith(b"RIFF") else None


def read_header(
    image: bytes, formats: tuple[str, ...] = FORMATS, go_on: GoOn = without_end
) -> Announced:
    """Return what an image announces, nothing of one that can not be read. For a thread.

    Args:
        image: encoded.
        formats: those that are read; no other reader is tried.
        go_on: called between parts of the boxes of an AVIF.
    """
    quick = quick_pixels(image)
    if quick is not None:
        return Announced(quick, 0)
    try:
        return _read_header(image, formats, go_on)
    except (ImageError, UnidentifiedImageError, Image.DecompressionBombError, *PILLOW_FAULTS):
        return Announced(0, 0)


def _bmp_pixels(image: bytes) -> int:
    """Return the pixels by the header, also of kinds that Pillow alone does not read; a height may be negative."""
    if image[14] == _OS2_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", image, 18)
    else:
        width, height = struct.unpack_from("<Ii", image, 18)
    return int(width * abs(height))


def _webp_pixels(image: bytes) -> int | None:
    """Return the pixels of the canvas (RFC 9649, 2.5 to 2.7)."""
    kind = image[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(image[24:27], "little") + 1
        return width * (int.from_bytes(image[27:30], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(image[21:25], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", image, 26)
        return int((width & 0x3FFF) * (height & 0x3FFF))
    return None


def jpeg_frame(image: bytes, most: int = MOST_SEGMENTS) -> JpegFrame | None:
    """Follow a JPEG's segments up to its first scan or its end.

    Return None where a reader would have to skip bytes between them, or there are more than `most`.
    """
    position, pixels, kind, components = 2, 0, 0, 0
    for segments in range(most):
        if len(image) < position + 10 or image[position] != 0xFF:
            return None
        marker = image[position + 1]
        if marker in _BEFORE_PIXELS:
            found = JpegFrame(pixels, kind, components, position, segments)
            return found if kind else None
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", image, position + 5)
            pixels = max(pixels, width * height)
            kind, components = marker, image[position + 9]
        position += 2 + int.from_bytes(image[position + 2 : position + 4], "big")
    return None


def _read_header(image: bytes, formats: tuple[str, ...], go_on: GoOn) -> Announced:
    if image.startswith(JPEG_START):
        return _read_jpeg(without_filling(image), formats)
    if image.startswith(png.SIGNATURE):  # whose header is not its first chunk: it is refused
        return Announced(0, 0)
    if image.startswith(TIFF_STARTS):
        return Announced(*tiff.announced(image)) if "TIFF" in formats else Announced(0, 0)
    if image.startswith(b"GIF8"):
        return _read_gif(image, formats)
    if format_of(image) == "AVIF":
        return _read_avif(image, Budget(go_on)) if "AVIF" in formats else Announced(0, 0)
    pixels = _pillow_pixels(image, formats)
    return Announced(pixels, pixels)


def _read_gif(image: bytes, formats: tuple[str, ...]) -> Announced:
    held = metadata_bytes(image, "GIF", MAX_METADATA_BYTES)
    if held > MAX_METADATA_BYTES:
        return Announced(0, 0)
    pixels = _pillow_pixels(image, formats)
    return Announced(pixels, pixels + blocks_work(held // GIF_BLOCK_BYTES))


def _read_avif(image: bytes, budget: Budget) -> Announced:
    """Return what the first frame takes; where it can not be read, only what was done for it up to there."""
    try:
        takes = decoded(first_frame(image, budget), budget)
    except ImageError:
        return Announced(0, budget.taken * AVIF_STEP_WORK)
    work = max(takes.total * VIDEO_FIFTHS // 5, len(image) * AVIF_BYTE_WORK)
    return Announced(takes.pixels, max(work, budget.taken * AVIF_STEP_WORK))


def _read_jpeg(image: bytes, formats: tuple[str, ...]) -> Announced:
    frame = jpeg_frame(image, MAX_SEGMENTS)  # Pillow's reader takes many times as long
    segments = image.count(b"\xff") if frame is None else frame.segments
    if "JPEG" not in formats:
        return Announced(0, 0)
    if frame is None:
        file = open_jpeg(image)
        return Announced(file.width * file.height, segments_work(segments))
    return Announced(frame.pixels, segments_work(segments))


def _pillow_pixels(image: bytes, formats: tuple[str, ...]) -> int:
    with Image.open(BytesIO(image), formats=formats) as file:
        return file.width * file.height
