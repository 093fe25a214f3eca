"""The segments before a JPEG's pixels → the same without what is between them, which a reader skips byte by byte."""

import re

from service.errors import BrokenImageError
from service.imaging.unread import why_unread

JPEG_START = b"\xff\xd8"

MAX_SEGMENTS = 20_000
"""A real file has about ten, and a few hundred with the largest metadata; each costs 3 to 4 microseconds."""

LARGE_BYTES = 64 * 1024
"""Shorter files are read as they are: they have fewer segments than are allowed."""

MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
"""Fill bytes, which may stand before a marker (T.81, B.1.1.2), and other bytes between segments are none."""
_FILL = b"\xff" * (1 << 16)
_LONG_FILL = re.compile(rb"\xff{65536,}")
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xDA)))
_REFUSED = frozenset((*range(0x02, 0xC0), 0xC8, 0xDE, 0xDF, *range(0xF0, 0xFE)))
"""libjpeg decodes none that has one of these (T.81, table B.1: reserved); Pillow's reader may go through millions."""
_SCAN = 0xDA


def without_filling(body: bytes) -> bytes:
    """Return a JPEG whose segments follow each other up to its first scan; most files do, and are returned as they are.

    Raises:
        BrokenImageError: it has more segments than any real file, or one that no reader takes.
        UnsupportedImageError: it is of a kind of JPEG that is not read.
    """
    if len(body) <= LARGE_BYTES:
        return body
    pieces, place = [body[:2]], 2
    is_filled = False
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(body, place)
        if found is None:  # and no pixels
            return b"".join((*pieces, b"\xff"))
        is_filled = is_filled or found.start() > place
        start, code = found.start(), body[found.start() + 1]
        if code == _SCAN:
            return b"".join((*pieces, memoryview(body)[start:])) if is_filled else body
        if code in _REFUSED:
            raise why_unread(body)
        length = int.from_bytes(body[start + 2 : start + 4]) if code not in _WITHOUT_LENGTH else 0
        place = start + 2 + length
        pieces.append(body[start:place])
    raise BrokenImageError(
        f"The JPEG has more than {MAX_SEGMENTS} segments before its pixels. Encode it again."
    )


def without_long_fill(body: bytes) -> bytes:
    """Return a JPEG whose runs of fill bytes are at most as long as a segment, so that none of its content changes."""
    # A run of 65536 bytes has two of these samples beside each other: an ordinary file costs a microsecond.
    is_suspect = len(body) > LARGE_BYTES and b"\xff\xff" in body[:: len(_FILL) // 2]
    return _LONG_FILL.sub(_FILL, body) if is_suspect else body
