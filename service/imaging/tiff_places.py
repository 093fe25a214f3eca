"""The places of a TIFF's strips or tiles → whether the file has the bytes of each, before anything is decoded.

Readers that get the file with more behind it, such as directories written anew, would take that for pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
)

from service.errors import BrokenImageError
from service.imaging.tiff_directory import Directory, many

Array = NDArray[Any]

_UNCOMPRESSED, _OLD_JPEG = 1, 6
_YCBCR = 6
_HEADER_BYTES = 8


def add_counts(directory: Directory, size: int) -> None:
    """Add the counts of bytes that a directory lacks: each strip reaches to the next one, or to the end of the file."""
    offset_tag, count_tag = place_tags(directory)
    if offset_tag in directory and count_tag not in directory:
        directory[count_tag] = _to_the_next(_values(directory, offset_tag), size)


def check_places(directory: Directory, size: int) -> None:
    """Check that each strip or tile lies within the file, with all of its rows where it is not compressed.

    Args:
        directory: of the page.
        size: of the file, in bytes.

    Raises:
        BrokenImageError: the file ends before a strip or tile does, or has too few of them.
    """
    if int(directory.get(COMPRESSION, 1)) == _OLD_JPEG:  # one JPEG in the file has them all
        return
    offsets, counts = (_values(directory, tag) for tag in place_tags(directory))
    found = strip_count(directory)
    is_whole = len(offsets) >= found and len(counts) >= found
    if is_whole:
        needed = _needed(directory, counts[:found])
        starts = offsets[:found]
        inside = (starts >= _HEADER_BYTES) & (needed > 0) & (starts + needed <= size)
        is_whole = bool(inside.all())
    if not is_whole:
        raise BrokenImageError(
            f"The TIFF is damaged or cut short: its {size} bytes end before all of its pixels. Send the whole file."
        )


def place_tags(directory: Directory) -> tuple[int, int]:
    """Return the tags of the places and of the counts of bytes."""
    if TILEOFFSETS in directory:
        return TILEOFFSETS, TILEBYTECOUNTS
    return STRIPOFFSETS, STRIPBYTECOUNTS


def _values(directory: Directory, tag: int) -> Array:
    """Return a tag's values; exact up to 2^53, which is more than any file has."""
    return np.asarray(many(directory.get(tag, ())), np.float64)


def _to_the_next(offsets: Array, size: int) -> tuple[int, ...]:
    places = np.append(np.sort(offsets), size)
    following = places[np.searchsorted(places, offsets, side="right").clip(0, len(offsets))]
    return tuple(int(count) for count in np.maximum(following - offsets, 0))


def rows_per_strip(directory: Directory) -> int:
    """Return the rows of the image that a strip or tile has, but for those at the bottom."""
    height = int(directory[IMAGELENGTH])
    rows = int(directory.get(TILELENGTH) or directory.get(ROWSPERSTRIP) or height)
    if rows < 1:  # the tag is a fraction, or negative
        raise BrokenImageError(f"The TIFF is damaged: a strip has {rows} rows. Save it anew.")
    return min(height, rows)


def row_bytes(directory: Directory) -> int:
    """Return the bytes of a row of a strip or tile that is not compressed, padded to whole bytes."""
    across = int(directory.get(TILEWIDTH) or directory[IMAGEWIDTH])
    bits = many(directory.get(BITSPERSAMPLE, (1,)))
    samples = int(directory.get(SAMPLESPERPIXEL, 1)) // _planes(directory)
    per_pixel = sum(bits) if len(bits) == samples else max(bits) * samples
    return (across * per_pixel + 7) // 8


def strip_count(directory: Directory) -> int:
    """Return how many strips or tiles of the file are read; it may name more."""
    down, across = _strips(directory)
    return down * across * _planes(directory)


def _strips(directory: Directory) -> tuple[int, int]:
    """Return how many strips or tiles are below each other, and beside each other."""
    width, height = int(directory[IMAGEWIDTH]), int(directory[IMAGELENGTH])
    across = int(directory.get(TILEWIDTH) or width)
    return -(-height // rows_per_strip(directory)), -(-width // across)


def _rows(directory: Directory) -> Array:
    """Return how many rows of the image each strip or tile has, in the order of the file."""
    height, step = int(directory[IMAGELENGTH]), rows_per_strip(directory)
    rows = np.minimum(step, height - np.arange(0, height, step))
    return np.tile(np.repeat(rows, _strips(directory)[1]), _planes(directory))


def _planes(directory: Directory) -> int:
    is_planar = int(directory.get(PLANAR_CONFIGURATION, 1)) == 2  # planes
    return int(directory.get(SAMPLESPERPIXEL, 1)) if is_planar else 1


def _needed(directory: Directory, counts: Array) -> Array:
    """Return the bytes that each strip needs, 0 where its count says that it has fewer.

    The count of a single strip without compression is not used, as in libtiff: writers get it wrong.
    """
    is_plain = int(directory.get(COMPRESSION, 1)) == _UNCOMPRESSED
    if not is_plain or int(directory.get(PHOTOMETRIC_INTERPRETATION, 0)) == _YCBCR:
        return counts
    needed = _rows(directory) * row_bytes(directory)
    return needed if len(counts) == 1 else np.where(counts < needed, 0, needed)
