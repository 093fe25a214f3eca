"""A JPEG without its end marker → the same JPEG with it, if all of its pixels are there.

libjpeg fills missing pixels and says so only in a warning that Pillow does not pass on. So the end is tried three
times: with nothing before the marker, and with two series of bits that no encoder wrote. Pixels that are there do not
depend on what follows them; the first missing one does.
"""

import zlib
from io import BytesIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

END = b"\xff\xd9"
_MARKER = b"\xff"
_NOISES = (bytes(range(247, 7, -3)), bytes(range(165, 5, -2)))
"""Bits that differ from the zeros that libjpeg supposes, from the first two on; no byte is that of a marker."""
_STRIP_PIXELS = 1 << 18
_SCAN, _PROGRESSIVE = 0xDA, (0xC2, 0xC6, 0xCA, 0xCE)
_RESTARTS = tuple(bytes((0xFF, code)) for code in range(0xD0, 0xD8))


def completed(body: bytes) -> bytes | None:
    """Return the JPEG with an end marker if only that is missing, None if pixels are missing too.

    It is decoded several times, so this is called only for a file that ends too early.
    """
    whole = body.rstrip(_MARKER)
    if not _has_every_scan(whole):
        return None
    last = max((whole.rfind(marker), code) for code, marker in enumerate(_RESTARTS))
    following = (last[1] + 1) % 8 if last[0] >= 0 else 0
    restarts = [_RESTARTS[(following + step) % 8] for step in range(3)]
    ended, *noisy = (
        b"".join((whole, noise, *(restart + noise for restart in restarts if noise), END))
        for noise in (b"", *_NOISES)
    )
    for reduction in (8, 1):  # the first is cheap, and refuses nearly all that must be refused
        found = _checksum(ended, reduction)
        if any(_checksum(other, reduction) != found for other in noisy):
            return None
    return ended


def _checksum(body: bytes, reduction: int) -> int:
    """Return a checksum of the pixels, decoded at this scale; one strip of them is copied at a time."""
    image = Image.open(BytesIO(body), formats=[str(JpegImageFile.format)])
    image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))
    image.load()
    found = 0
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        found = zlib.crc32(strip.tobytes(), found)
    return found


def _has_every_scan(body: bytes) -> bool:
    """Return whether the scans bring each coefficient of each component to its last bit (T.81, G.1.1)."""
    missing: set[tuple[int, int]] = set()
    components: set[int] = set()
    place = 2
    while (place := body.find(_MARKER, place)) >= 0 and place + 4 <= len(body):
        code = body[place + 1]
        length = int.from_bytes(body[place + 2 : place + 4])
        segment = body[place + 4 : place + 2 + length]
        if code in {0x00, 0x01, 0xFF} or 0xD0 <= code <= 0xD9:  # T.81, table B.1
            place += 1 if code == 0xFF else 2
            continue
        if 0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC} and len(segment) > 5:
            components = set(segment[6::3][: segment[5]])
            last = 64 if code in _PROGRESSIVE else 1
            missing = {(component, k) for component in components for k in range(last)}
        if code == _SCAN and segment:
            count = segment[0]
            shown = set(segment[1 : 1 + 2 * count : 2])
            first, end, bit = (*segment[1 + 2 * count :], 0, 0, 0)[:3]
            if bit & 15 == 0:
                missing -= {(c, k) for c in shown for k in range(first, max(first, end) + 1)}
        place += 2 + length
    return bool(components) and not missing
