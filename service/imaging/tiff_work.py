"""A TIFF's tags → how long its strips or tiles take, as so many pixels: each costs time however few pixels it has."""

from PIL.TiffImagePlugin import COMPRESSION, IMAGEWIDTH, TILEWIDTH

from service.imaging.jpeg_scans import count_markers
from service.imaging.tiff_directory import MOST_TAG_BYTES, Directory, many
from service.imaging.tiff_places import place_tags, rows_per_strip, strip_count
from service.imaging.work_weights import (
    DEFLATE_BYTE_WORK,
    FAX_BYTE_WORK,
    JPEG_STRIP_WORK,
    STRIP_WORK,
    USUAL_SCANS,
    with_bytes,
)

_JPEG = 7
_FAX = frozenset({2, 3, 4})
_DEFLATE = frozenset({8, 32946})
_MOST_STRIPS = MOST_TAG_BYTES // 2
"""More places are not read."""


def strips_work(directory: Directory, body: bytes) -> int:
    """Return what all strips or tiles of a page count.

    Args:
        directory: of the page.
        body: the file.

    Raises:
        BrokenImageError, TypeError, ValueError, …: the tags are damaged.
    """
    compression, strips = int(directory.get(COMPRESSION, 1)), strip_count(directory)
    if compression == _JPEG:
        across = int(directory.get(TILEWIDTH) or directory[IMAGEWIDTH])
        scanned = count_markers(body) * across * rows_per_strip(directory) // USUAL_SCANS
        return max(min(strips, _MOST_STRIPS) * JPEG_STRIP_WORK, scanned)
    work = min(strips, _MOST_STRIPS) * STRIP_WORK
    if compression in _FAX:
        return max(work, _strip_bytes(directory, body, strips) * FAX_BYTE_WORK)
    if compression in _DEFLATE:
        return with_bytes(work, _strip_bytes(directory, body, strips) * DEFLATE_BYTE_WORK)
    return work


def _strip_bytes(directory: Directory, body: bytes, strips: int) -> int:
    counts = many(directory.get(place_tags(directory)[1], (len(body),)))
    return sum(counts[:strips])
