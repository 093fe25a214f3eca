"""An encoded image → how long its decoding takes, by its header: as that of an ordinary image of so many pixels."""

from collections.abc import Sequence

from service.imaging import png
from service.imaging.announced import Announced, jpeg_frame, quick_pixels, read_header
from service.imaging.bmp import run_codes
from service.imaging.deadline import GoOn, without_end
from service.imaging.formats import FORMATS
from service.imaging.jpeg_header import JPEG_START
from service.imaging.jpeg_scans import MAX_SCANS, SCAN_MARKER, count_markers
from service.imaging.unread import TIFF_STARTS
from service.imaging.webp_codes import FEW_GROUPS, codes_of, most_groups
from service.imaging.work_weights import (
    FREE_SEGMENTS,
    GROUP_WORK,
    JPEG_SHARE,
    PNG_BYTE_WORK,
    RUN_CODE_WORK,
    TOGETHER_BYTE_WORK,
    USUAL_SCANS,
    VIDEO_FIFTHS,
    WEBP_BYTE_WORK,
    segments_work,
    spare_work,
    with_bytes,
)

REQUEST_WORK = 48_000_000
"""The images of one request may take so much together and still be queued all at once: 8 photographs of 12 million
pixels, or 64 of 1.5 million, as JPEG."""

SMALL_JPEG_BYTES = 128 * 1024
"""In so few bytes scans are counted at once. A JPEG of so few whose header is out of order is small, unless it has many
scans."""
QUICK_CHUNKS = 500
"""So many chunks of a PNG are followed at once, which takes a tenth of a millisecond; most files have fewer."""
_DEPTH, _INTERLACE = 24, 28
"""The places of these bytes in a PNG."""
_DEEP = 16
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
"""The frames of a JPEG with one scan where that has all of its components."""


def quick_work(image: bytes) -> int | None:
    """Return an image's work in a few microseconds; None where it takes a reader to know it."""
    if image.startswith(JPEG_START):
        return _jpeg_work(image)
    pixels = quick_pixels(image)
    if pixels is None:
        return None
    if image.startswith(png.SIGNATURE):
        chunks = png.count_chunks(image, QUICK_CHUNKS)
        return None if chunks == QUICK_CHUNKS else _png_work(image, pixels)
    if image.startswith(b"RIFF"):
        work = _webp_work(image, pixels)
        return None if most_groups(image) > FEW_GROUPS else work
    if image.startswith(b"BM"):
        return max(pixels, run_codes(image) * RUN_CODE_WORK)
    return pixels


def quick_announced(image: bytes) -> Announced | None:
    """Return an image's pixels and its work in a few microseconds; None where it takes a reader to know both."""
    pixels, work = quick_pixels(image), quick_work(image)
    return None if pixels is None or work is None else Announced(pixels, work)


def announced(
    image: bytes, formats: tuple[str, ...] = FORMATS, go_on: GoOn = without_end
) -> Announced:
    """Return an image's pixels, and its work: these, or what its strips or segments take, if that is more.

    One that can not be read has none. For a thread.

    Args:
        image: encoded.
        formats: those that are read; no other reader is tried.
        go_on: called between parts of a header that may be long.
    """
    known = quick_announced(image)
    if known is not None:
        return known
    pixels, work = read_header(image, formats, go_on)
    if image.startswith(JPEG_START):
        quick = quick_work(image)
        return Announced(pixels, max(_of_scans(image, pixels), work) if quick is None else quick)
    if image.startswith(png.SIGNATURE) and pixels:
        chunks = png.count_chunks(image, png.MAX_CHUNKS)
        return Announced(pixels, max(_png_work(image, pixels), segments_work(chunks)))
    if image.startswith(b"RIFF") and pixels:
        groups = codes_of(image).groups
        return Announced(pixels, max(_webp_work(image, pixels), groups * GROUP_WORK))
    return Announced(pixels, work)


def _webp_work(image: bytes, pixels: int) -> int:
    return max(pixels * VIDEO_FIFTHS // 5, len(image) * WEBP_BYTE_WORK)


def work_together(images: Sequence[object], works: Sequence[int]) -> int:
    """Return the work of all images of a request; where there are several, the bytes of PNGs and TIFFs count in any.

    Args:
        images: encoded; an error in the place of one counts nothing.
        works: of each.
    """
    if len(images) == 1:
        return sum(works)
    return sum(map(_beside_others, images, works))


def _beside_others(image: object, work: int) -> int:
    if isinstance(image, bytes) and image.startswith((png.SIGNATURE, *TIFF_STARTS)):
        return max(work, len(image) * TOGETHER_BYTE_WORK)
    return work


def _png_work(image: bytes, pixels: int) -> int:
    work = pixels * (2 if image[_DEPTH] == _DEEP else 1) * (2 if image[_INTERLACE] else 1)
    full = png.full_bytes(image)
    if spare_work(len(image), full):
        work = max(work, spare_work(png.stream_bytes(image), full))
    return with_bytes(work, len(image) * PNG_BYTE_WORK)


def _jpeg_work(image: bytes) -> int | None:
    frame, is_short = jpeg_frame(image), len(image) <= SMALL_JPEG_BYTES
    if frame is None:
        is_small = is_short and count_markers(image) <= USUAL_SCANS
        return 0 if is_small and image.count(b"\xff") <= FREE_SEGMENTS else None
    pixels, kind, components, place, _ = frame
    is_scan = image.startswith(SCAN_MARKER, place)
    if kind in _SEQUENTIAL and is_scan and image[place + 4] == components:
        return pixels // JPEG_SHARE
    return _of_scans(image, pixels) if is_short else None


def _of_scans(image: bytes, pixels: int) -> int:
    scans = min(count_markers(image), MAX_SCANS)
    return pixels * max(USUAL_SCANS, scans) // (USUAL_SCANS * JPEG_SHARE)
