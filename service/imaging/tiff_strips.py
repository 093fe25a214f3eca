"""The strips or tiles of a TIFF → whether their pixels are all there, where libtiff does not say.

libtiff reads a Deflate strip up to its last pixel and not its checksum, fills a fax strip that ends too early with
white, and a JPEG strip with gray.
"""

import zlib
from collections import Counter

from PIL.TiffImagePlugin import (
    COMPRESSION,
    IMAGELENGTH,
    IMAGEWIDTH,
    JPEGTABLES,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)

from service.errors import BrokenImageError
from service.imaging import jpeg_tail
from service.imaging.deadline import GoOn, without_end
from service.imaging.jpeg_file import open_jpeg
from service.imaging.jpeg_scans import MAX_PASSED_PIXELS, check_scans, count_markers
from service.imaging.tiff_directory import Directory, many, with_directories
from service.imaging.tiff_file import open_tiff
from service.imaging.tiff_places import place_tags, row_bytes, rows_per_strip, strip_count

_DEFLATE = (8, 32946)
_RLE, _G3, _G4 = 2, 3, 4
_JPEG = 7
_PIECE = 1 << 16
_JPEG_ROWS = 16
"""The rows of a JPEG's blocks, to which a strip may be padded."""
MAX_JPEG_STRIPS = 4096
"""So many JPEG strips of a file are looked at; more cost too much time."""
_OVERLAP = 4
"""So many times the file's length all JPEG strips may have together. Some writers store a blank tile once: equal places
count once."""

_HOLE = bytes(3)
"""24 bits of zeros, which no line of G4 or of TIFF's run lengths has."""
_NOISES = (bytes(range(255, 5, -3)) * 3, b"\0" + bytes(range(1, 250, 7)) * 4)
"""Bits that are other lines than the blank ones that libtiff fills in; the zeros of the second end a half code."""
_ZEROS = bytes(16)
"""So many zeros at the end of a strip stand for nothing. A few may be the end of its last code."""


def check_strips(file: TiffImageFile, body: bytes, go_on: GoOn = without_end) -> None:
    """Look at what libtiff does not check, before it decodes the file's current page; `go_on` is called between strips.

    Raises:
        BrokenImageError: a strip is damaged, or lacks pixels.
    """
    compression = int(file.tag_v2.get(COMPRESSION, 1))
    spans, view = _spans(file.tag_v2), memoryview(body)
    strips = [view[place : place + size] for place, size in spans]
    if compression in _DEFLATE:
        sizes = _inflated_sizes(file.tag_v2)
        is_whole = all(_inflates(strip, sizes, go_on) for strip in strips)
    elif compression == _JPEG:
        _check_all_scans(file.tag_v2, spans, body)
        tables, most = file.tag_v2.get(JPEGTABLES), _most_jpeg_pixels(file.tag_v2)
        is_whole = all(
            _is_whole_jpeg(strip, tables, most, go_on) for strip in strips[:MAX_JPEG_STRIPS]
        )
    elif compression in {_RLE, _G3, _G4}:
        is_whole = _has_every_line(file, body, strips, compression, go_on)
    else:
        return
    if not is_whole:
        raise BrokenImageError(
            "The TIFF is damaged or cut short: a strip of it has fewer pixels than its header says, or a wrong "
            "checksum. Send the original file."
        )


def _spans(directory: Directory) -> list[tuple[int, int]]:
    """Return the place and the size of each strip that the image needs; a file may name more."""
    places, sizes = (many(directory.get(tag, ())) for tag in place_tags(directory))
    if len(sizes) != len(places):
        return []
    return list(zip(places, sizes, strict=True))[: strip_count(directory)]


def _check_all_scans(directory: Directory, spans: list[tuple[int, int]], body: bytes) -> None:
    """Check over how many pixels the scans of all JPEG strips pass together: `check_scans` sees one strip alone.

    Raises:
        BrokenImageError: over far more than those of any encoder.
    """
    times = Counter(spans)
    view = memoryview(body)
    is_usual = sum(size for _, size in times) <= _OVERLAP * len(body)
    scans = sum(
        count * count_markers(bytes(view[place : place + size]))
        for (place, size), count in (times.items() if is_usual else ())
    )
    if not is_usual or scans * _strip_pixels(directory) > MAX_PASSED_PIXELS:
        raise BrokenImageError(
            "The JPEG strips of the TIFF have too many scans together, or lie over each other. Encode it again."
        )


def _row_counts(directory: Directory) -> set[int]:
    """Return the rows that a strip or tile may have; a tile is padded to its whole length."""
    height, step = int(directory[IMAGELENGTH]), rows_per_strip(directory)
    return {step, height % step or step, int(directory.get(TILELENGTH) or step)}


def _inflated_sizes(directory: Directory) -> set[int]:
    """Return the bytes that a strip or tile may have when it is inflated."""
    return {rows * row_bytes(directory) for rows in _row_counts(directory)}


def _strip_pixels(directory: Directory) -> int:
    """Return how many pixels the largest strip or tile has."""
    across = int(directory.get(TILEWIDTH) or directory[IMAGEWIDTH])
    return across * max(_row_counts(directory))


def _most_jpeg_pixels(directory: Directory) -> int:
    """Return how many pixels a JPEG strip may have: twice its own, since some writers pad the rows of the last one."""
    across = int(directory.get(TILEWIDTH) or directory[IMAGEWIDTH])
    return 2 * (_strip_pixels(directory) + across * _JPEG_ROWS)


def _inflates(strip: memoryview, sizes: set[int], go_on: GoOn) -> bool:
    """Return whether a strip has its checksum, or ends before it with all of its bytes.

    With its checksum it may have more bytes than the largest of the usual sizes, at most twice as many.
    """
    stream, found = zlib.decompressobj(), 0
    data: bytes | memoryview = strip
    try:
        while data and not stream.eof:
            go_on()
            found += len(stream.decompress(data, _PIECE))
            data = stream.unconsumed_tail
            if found > 2 * max(sizes) + _PIECE:
                return False
        found += len(stream.flush())
    except zlib.error:
        return False
    return stream.eof or found in sizes


def _is_whole_jpeg(strip: memoryview, tables: bytes | None, most_pixels: int, go_on: GoOn) -> bool:
    go_on()
    body = bytes(strip)
    if tables and tables.endswith(jpeg_tail.END):
        body = tables[:-2] + body[2:]
    check_scans(body, most_pixels)
    try:
        image = open_jpeg(body)
        if (
            image.width * image.height > most_pixels
        ):  # libtiff refuses it too, after this decoded it
            return False
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    except OSError:
        return jpeg_tail.completed(body, go_on) is not None
    return not jpeg_tail.is_doubtful(image, body, 0) or not jpeg_tail.lacks_pixels(body, go_on)


def _has_every_line(
    file: TiffImageFile, body: bytes, strips: list[memoryview], compression: int, go_on: GoOn
) -> bool:
    """Return whether no line depends on what follows a strip. Zeros at its end are no lines."""
    whole = [bytes(strip) for strip in strips]
    kept = [strip.rstrip(b"\0") if strip.endswith(_ZEROS) else strip for strip in whole]
    if compression != _G3 and any(
        _HOLE in strip.rstrip(b"\0") for strip in kept
    ):  # G3 may fill with zeros
        return False
    found = _checksum(body, file)
    for noise in _NOISES:
        go_on()
        if _checksum(_with_strips(file, body, [strip + noise for strip in kept])) != found:
            return False
    return True


def _with_strips(file: TiffImageFile, body: bytes, strips: list[bytes]) -> bytes:
    """Return the file with these strips in place of its own, behind it."""
    offset_tag, count_tag = place_tags(file.tag_v2)
    body += b"\0" * (len(body) % 2)
    places, place = [], len(body)
    for strip in strips:
        places.append(place)
        place += len(strip)
    changed = {offset_tag: tuple(places), count_tag: tuple(len(strip) for strip in strips)}
    return with_directories(b"".join((body, *strips)), file.tag_v2, [changed])


def _checksum(body: bytes, file: TiffImageFile | None = None) -> int:
    """Return a checksum of the pixels of a file's page, by default of its first one."""
    page = open_tiff(body)
    if file is not None:
        page.seek(file.tell())
    page.load()
    return zlib.crc32(page.tobytes())
