"""The scans of a JPEG, each of which costs a pass over all of its pixels: one, or so many that it is refused."""

import re

import numpy as np
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.jpeg_header import MAX_SEGMENTS

SCAN_MARKER = b"\xff\xda"

MAX_SCANS = 100
"""As in libtiff. An encoder makes about ten."""

MAX_PASSED_PIXELS = 1_600_000_000
"""So many pixels may all scans together pass over: 25 times 64 million. A scan may have 20 bytes, and takes up to half
a nanosecond a pixel."""

_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
"""A marker that is neither a part of a scan's bits nor fill (T.81, table B.1)."""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_MARKER_PAIR = int(np.frombuffer(SCAN_MARKER, np.uint16)[0])


def count_markers(body: bytes) -> int:
    """Return how many scans a JPEG has at most: also what looks like one in its metadata counts.

    Comparing pairs of bytes takes a sixth of the time of `bytes.count`: 0.6 ms for 3.3 MB.
    """
    even = np.frombuffer(body, np.uint16, len(body) // 2)
    odd = np.frombuffer(body, np.uint16, (len(body) - 1) // 2, 1) if len(body) > 1 else even
    return int(np.count_nonzero(even == _MARKER_PAIR) + np.count_nonzero(odd == _MARKER_PAIR))


def has_one_scan(image: Image.Image, body: bytes, start: int) -> bool:
    """Return whether the first scan is the only one that is decoded; it costs a microsecond.

    Args:
        image: Pillow's image of the JPEG.
        body: the file.
        start: the place behind the header of its first scan, where that is known; else any.
    """
    components = getattr(image, "layers", 0)
    head = start - 8 - 2 * components
    is_baseline = "progressive" not in image.info
    return (
        is_baseline
        and head > 0
        and body.startswith(SCAN_MARKER, head)
        and (body[head + 4] == components)
    )


def check_scans(body: bytes, pixels: int) -> None:
    """Check how many scans a JPEG has, before they are decoded.

    Args:
        body: the file.
        pixels: of the whole image.

    Raises:
        BrokenImageError: far more than an encoder makes.
    """
    most = max(1, min(MAX_SCANS, MAX_PASSED_PIXELS // max(pixels, 1)))
    if count_markers(body) <= most:
        return
    place, scans = 2, 0
    for _ in range(MAX_SEGMENTS):
        found = _SEGMENT.search(body, place)
        if found is None or (code := body[found.start() + 1]) == _END:
            return
        scans += code == _SCAN
        if scans > most:
            break
        length = 0 if code == _START else int.from_bytes(body[found.end() : found.end() + 2])
        place = found.end() + length
    raise BrokenImageError(
        f"The JPEG has more than {most} scans, which is too many for its size. Encode it again."
    )
