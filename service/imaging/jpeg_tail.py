"""Whether a JPEG has all of its pixels, with or without its end marker.

libjpeg fills missing pixels and says so only in a warning that Pillow does not pass on. So what looks doubtful is
decoded again with other bits in place of its end: pixels that are there do not depend on what follows them; the first
missing one does. A file is doubtful if it has no end marker, if its last pixel is the gray that libjpeg fills in, if
its end is zeros, or if scans are missing.
"""

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.deadline import GoOn, without_end
from service.imaging.jpeg_file import open_jpeg
from service.imaging.jpeg_header import MAX_SEGMENTS
from service.imaging.jpeg_scans import SCAN_MARKER, has_one_scan

END = b"\xff\xd9"
_MARKER = b"\xff"
_NOISES = (bytes(range(247, 7, -3)), bytes(range(165, 5, -2)))
"""Bits that differ from the zeros that libjpeg supposes, from the first two on; no byte is that of a marker."""
_STRIP_PIXELS = 1 << 18
_PIECE = 1 << 20
_SCAN, _PROGRESSIVE = 0xDA, (0xC2, 0xC6, 0xCA, 0xCE)
_RESTARTS = tuple(bytes((0xFF, code)) for code in range(0xD0, 0xD8))
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA), 0xFF)
"""What may follow a byte 255 and begins no segment (T.81, table B.1)."""

_ZEROS = bytes(16)
_ZERO_ENDS = (_ZEROS, _ZEROS + END)
"""So many zeros at the end are doubtful. Files that were never written to their end are filled up with them."""
_GRAY = (127, 128)
"""What each sample is where libjpeg had no bits: 128, in inverted CMYK 127."""
_MAX_LUMA_ERROR = 3
"""At the edge of an image, fancy upsampling mixes a quarter of a neighbor's chroma into the gray."""


def is_doubtful(image: Image.Image, body: bytes, start: int) -> bool:
    """Return whether pixels may be missing; an intact baseline file costs two microseconds.

    Args:
        image: the decoded JPEG, at any scale.
        body: the file.
        start: the place behind the header of its first scan, where that is known; else any.
    """
    if _is_gray(image) or (body.endswith(_ZERO_ENDS) and _ends_in_zeros(body)):
        return True
    return not has_one_scan(image, body, start) and not _has_every_scan(body)


def _ends_in_zeros(body: bytes) -> bool:
    """Return whether zeros are before the end marker, or in its place; those behind it mean nothing."""
    kept = body.rstrip(b"\0")
    return kept.endswith(_ZEROS + END) or not kept.endswith(END)


def _is_gray(image: Image.Image) -> bool:
    """Return whether the last pixel is as libjpeg makes missing ones."""
    width, height = image.size
    last = image.im.getpixel((width - 1, height - 1))
    if not isinstance(last, tuple):
        return last in _GRAY
    if last[0] in _GRAY:
        return all(sample in _GRAY for sample in last) or width % 8 == 1 or height % 8 == 1
    if width % 8 != 1 and height % 8 != 1:
        return False
    red, green, blue, *_ = last
    return bool(abs((299 * red + 587 * green + 114 * blue) / 1000 - 128) <= _MAX_LUMA_ERROR)


def lacks_pixels(body: bytes, go_on: GoOn = without_end) -> bool:
    """Return whether pixels are missing in a JPEG with an end marker.

    It is decoded several times; `go_on` is called before each.
    """
    start = _first_scan(body)
    end = body.find(END, start)
    whole = body[: end if end >= 0 else len(body)]
    reductions = (8,) if whole.count(SCAN_MARKER, start) == 1 else (8, 1)
    return (
        not _has_every_scan(whole) or _is_cut(whole, reductions, go_on) or _is_zeroed(whole, go_on)
    )


def completed(body: bytes, go_on: GoOn = without_end) -> bytes | None:
    """Return the JPEG with an end marker if only that is missing, None if pixels are missing too.

    It is decoded several times, so this is called only for a file that ends too early. `go_on` is called before each.
    """
    whole = body.rstrip(_MARKER)
    # The first scale is cheap, and refuses nearly all that must be refused.
    if not _has_every_scan(whole) or _is_cut(whole, (8, 1), go_on) or _is_zeroed(whole, go_on):
        return None
    return whole + END


def _is_cut(whole: bytes, reductions: tuple[int, ...], go_on: GoOn) -> bool:
    """Return whether pixels depend on what follows the file without its end marker."""
    last = max((whole.rfind(marker), code) for code, marker in enumerate(_RESTARTS))
    following = (last[1] + 1) % 8 if last[0] >= 0 else 0
    restarts = [_RESTARTS[(following + step) % 8] for step in range(3)]
    noisy = [
        b"".join((whole, noise, *(restart + noise for restart in restarts), END))
        for noise in _NOISES
    ]
    for reduction in reductions:
        found = _checksum(whole + END, reduction, go_on)
        if any(_checksum(other, reduction, go_on) != found for other in noisy):
            return True
    return False


def _is_zeroed(whole: bytes, go_on: GoOn) -> bool:
    """Return whether zeros at the end stand in place of pixels.

    Pixels are made of the first of them, and there are more than needed. Zeros that an encoder wrote are pixels to the
    last byte; zeros behind the last pixel make none.
    """
    kept = whole.rstrip(b"\0")
    if len(whole) - len(kept) < len(_ZEROS):
        return False
    noise = _NOISES[0]
    found = _checksum(whole + END, 1, go_on)
    if _checksum(kept + b"\0\0" + noise + END, 1, go_on) == found:
        return False
    return _checksum(whole[:-2] + noise + END, 1, go_on) == found


def _checksum(body: bytes, reduction: int, go_on: GoOn) -> int:
    """Return a checksum of the pixels, decoded at this scale; one strip of them is copied at a time."""
    go_on()
    image = open_jpeg(body)
    image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))
    image.load()
    found = 0
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        found = zlib.crc32(strip.tobytes(), found)
    return found


def _segments(body: bytes) -> list[tuple[int, int]]:
    """Return the code and place of each segment's marker; the bits of a scan are searched, not walked."""
    segments, behind = [], 2
    for code, place in _markers(body):
        if place >= behind:
            segments.append((code, place))
            if len(segments) > MAX_SEGMENTS:
                raise BrokenImageError(
                    f"The JPEG has more than {MAX_SEGMENTS} segments. Encode it again."
                )
            behind = place + 2 + int.from_bytes(body[place + 2 : place + 4])
    return segments


def _markers(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield the code and place of whatever may begin a segment, found in a MiB at a time."""
    data = np.frombuffer(body, np.uint8)
    for start in range(0, len(data) - 1, _PIECE):
        piece = data[start : start + _PIECE + 1]  # a marker has two bytes
        found = np.flatnonzero(piece[:-1] == _MARKER[0])
        codes = piece[found + 1]
        begins = ~np.isin(codes, _WITHOUT_LENGTH)
        yield from zip(codes[begins].tolist(), (found[begins] + start).tolist(), strict=True)


def _first_scan(body: bytes) -> int:
    return next((place for code, place in _segments(body) if code == _SCAN), 0)


def _has_every_scan(body: bytes) -> bool:
    """Return whether the scans bring each coefficient of each component to its last bit (T.81, G.1.1)."""
    missing: set[tuple[int, int]] = set()
    components: set[int] = set()
    for code, place in _segments(body):
        length = int.from_bytes(body[place + 2 : place + 4])
        segment = body[place + 4 : place + 2 + length]
        if 0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC} and len(segment) > 5:
            if components:
                break  # the next image of the file
            components = set(segment[6::3][: segment[5]])
            last = 64 if code in _PROGRESSIVE else 1
            missing = {(component, k) for component in components for k in range(last)}
        if code == _SCAN and segment:
            count = segment[0]
            shown = set(segment[1 : 1 + 2 * count : 2])
            first, end, bit = (*segment[1 + 2 * count :], 0, 0, 0)[:3]
            if bit & 15 == 0:
                missing -= {(c, k) for c in shown for k in range(first, max(first, end) + 1)}
    return bool(components) and not missing
