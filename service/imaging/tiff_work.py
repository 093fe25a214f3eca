"""A TIFF's tags → how long its strips or tiles take, as so many pixels: each costs time however few pixels it has."""

from PIL.TiffImagePlugin import COMPRESSION, IMAGEWIDTH, TILELENGTH, TILEWIDTH

from service.imaging.jpeg_scans import count_markers
from service.imaging.tiff_directory import MOST_TAG_BYTES, Directory, many
from service.imaging.tiff_places import place_tags, row_bytes, rows_per_strip, strip_count
from service.imaging.work_weights import (
    DEFLATE_BYTE_WORK,
    FAX_BYTE_WORK,
    JPEG_STRIP_WORK,
    STRIP_WORK,
    USUAL_SCANS,
    spare_work,
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
        in_bytes = _strip_bytes(directory, body, strips)
        work = max(work, spare_work(in_bytes, strips * _full_bytes(directory)))
        return with_bytes(work, in_bytes * DEFLATE_BYTE_WORK)
    return work


def _full_bytes(directory: Directory) -> int:
    """Return how many bytes the pixels of a strip or tile take before they are compressed."""
    return int(directory.get(TILELENGTH) or rows_per_strip(directory)) * row_bytes(directory)


def _strip_bytes(directory: Directory, body: bytes, strips: int) -> int:
    counts = many(directory.get(place_tags(directory)[1], (len(body),)))
    return sum(counts[:strips])
