"""How many pixels an encoded image has by its header: what a request may hold is bounded before anything is decoded."""

import struct
from collections.abc import Iterable
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from service.errors import ImageError
from service.imaging import png, tiff
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.formats import FORMATS
from service.imaging.jpeg_header import JPEG_START, without_filling
from service.imaging.metadata import MAX_METADATA_BYTES, require_little_metadata
from service.imaging.unread import TIFF_STARTS

MOST_SEGMENTS = 200
"""Of a JPEG, before its size; photographs have about ten, and up to a hundred with a large color profile."""

HEADER_BYTES = 30
"""Of a PNG, a BMP or a WebP, with its size."""
_OS2_HEADER_BYTES = 12

_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""The markers of the segments that state a JPEG's size (ITU-T T.81, table B.1)."""
_BEFORE_PIXELS = frozenset({0xDA, 0xD9})


def quick_pixels(image: bytes) -> int | None:
    """Return the pixels of an image in a few microseconds; None where it takes a reader to know them."""
    if image.startswith(JPEG_START):
        frame = jpeg_frame(image)
        return None if frame is None else frame[0]
    if len(image) < HEADER_BYTES:
        return None
    if image.startswith(png.SIGNATURE):
        width, height = struct.unpack_from(">II", image, 16)
        return int(width * height) if image[12:16] == b"IHDR" else None
    if image.startswith(b"BM"):
        return _bmp_pixels(image)
    # The first frame of a GIF may be larger than its canvas, and lies behind what only a reader skips as Pillow does.
    return _webp_pixels(image) if image.startswith(b"RIFF") else None


def announced_pixels(images: Iterable[bytes], formats: tuple[str, ...] = FORMATS) -> int:
    """Return the pixels of all images together; one that can not be read counts as none. For a thread.

    Args:
        images: encoded.
        formats: those that are read; no other reader is tried.
    """
    return sum(_pixels(image, formats) for image in images)


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


def jpeg_frame(image: bytes) -> tuple[int, int, int, int] | None:
    """Return a JPEG's pixels, its frame's marker and components, and the place of its first scan or of its end.

    It follows the segments up to there; None where a reader would have to skip bytes between them.
    """
    position, pixels, kind, components = 2, 0, 0, 0
    for _ in range(MOST_SEGMENTS):
        if len(image) < position + 10 or image[position] != 0xFF:
            return None
        marker = image[position + 1]
        if marker in _BEFORE_PIXELS:
            return (pixels, kind, components, position) if kind else None
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", image, position + 5)
            pixels = max(pixels, width * height)
            kind, components = marker, image[position + 9]
        position += 2 + int.from_bytes(image[position + 2 : position + 4], "big")
    return None


def _pixels(image: bytes, formats: tuple[str, ...]) -> int:
    quick = quick_pixels(image)
    if quick is not None:
        return quick
    try:
        if image.startswith(JPEG_START):
            image = without_filling(image)
        if image.startswith(TIFF_STARTS):
            return tiff.announced_pixels(image) if "TIFF" in formats else 0
        if image[4:8] == b"ftyp":
            require_little_metadata(image, "AVIF", MAX_METADATA_BYTES)
        with Image.open(BytesIO(image), formats=formats) as file:
            return file.width * file.height
    except (ImageError, UnidentifiedImageError, Image.DecompressionBombError, *PILLOW_FAULTS):
        return 0
