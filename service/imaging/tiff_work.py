"""A TIFF's tags → how long its strips or tiles take, as so many pixels: each costs time however few pixels it has."""

from PIL.TiffImagePlugin import COMPRESSION, IMAGEWIDTH, TILEWIDTH

from service.imaging.jpeg_scans import count_markers
from service.imaging.tiff_directory import MOST_TAG_BYTES, Directory, many
from service.imaging.tiff_places import place_tags, rows_per_strip, strip_count

STRIP_WORK = 1000
"""What a strip or tile counts at least: it took 5 to 15 microseconds, as so many pixels do."""
JPEG_STRIP_WORK = 8000
"""What one that is a JPEG counts: its reader has to be made, and it is looked at before."""
FAX_BYTE_WORK = 25
"""What a byte of G3, G4 or run lengths counts: lines are decoded four times, and noise took 330 nanoseconds a byte."""
_USUAL_SCANS = 10
"""Of a progressive JPEG strip."""

_JPEG = 7
_FAX = frozenset({2, 3, 4})
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
        scanned = count_markers(body) * across * rows_per_strip(directory) // _USUAL_SCANS
        return max(min(strips, _MOST_STRIPS) * JPEG_STRIP_WORK, scanned)
    work = min(strips, _MOST_STRIPS) * STRIP_WORK
    if compression in _FAX:
        counts = many(directory.get(place_tags(directory)[1], (len(body),)))
        return max(work, sum(counts[:strips]) * FAX_BYTE_WORK)
    return work
