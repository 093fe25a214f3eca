"""What a reader would hold of an image beside its pixels: EXIF, XMP, color profiles, comments, tags. It is bounded.

Each format is counted before its reader sees the file, from the file's own structure: AVIF alone is counted by what its
reader found, which is at most the file three times. Text and profiles of a PNG are not held, so they do not count.
"""

from collections.abc import Callable
from types import MappingProxyType

from PIL import Image

from service.errors import TooMuchMetadataError

MAX_METADATA_BYTES = 16 * 1024 * 1024

_SCAN, _END = 0xDA, 0xD9
_COMMENT = 0xFE
_APPLICATION = range(0xE0, 0xF0)
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_WEBP_METADATA = frozenset({b"ICCP", b"EXIF", b"XMP "})
_GIF_EXTENSION = 0x21
GIF_BLOCK_BYTES = 256
"""What a block of a GIF counts, however short it is: the work is that of a whole one."""
_AVIF_METADATA = ("icc_profile", "exif", "xmp")


def require_little_metadata(body: bytes, form: str, most: int) -> None:
    """Refuse an image with more metadata than `most` bytes.

    Args:
        body: the encoded image.
        form: its format, by Pillow's name.
        most: bytes.

    Raises:
        TooMuchMetadataError: it has more.
    """
    count = COUNTS.get(form)
    if count is not None and count(body, most) > most:
        raise too_much(form, most)


def require_little_held(file: Image.Image, most: int) -> None:
    """Refuse an AVIF of which its reader holds more metadata than `most` bytes.

    Raises:
        TooMuchMetadataError: it has more.
    """
    held = sum(len(file.info[name]) for name in _AVIF_METADATA if name in file.info)
    if held > most:
        raise too_much("AVIF", most)


def too_much(form: str, most: int) -> TooMuchMetadataError:
    """Return the error for an image with more metadata than `most` bytes."""
    name = {"WEBP": "WebP"}.get(form, form)
    return TooMuchMetadataError(
        f"The {name} has more metadata (EXIF, XMP, color profile, comments, tags) than the {most} bytes allowed. "
        "Send it without metadata."
    )


def _of_jpeg(body: bytes, most: int) -> int:
    """Count the application and comment segments before the first scan, with their headers (ITU-T T.81, B.1.1)."""
    found, place = 0, 2
    while found <= most and (place := body.find(b"\xff", place)) >= 0 and place + 4 <= len(body):
        code = body[place + 1]
        if code in {_SCAN, _END}:
            break
        if code in {0x00, 0xFF} or code in _WITHOUT_LENGTH:
            place += 1
            continue
        length = int.from_bytes(body[place + 2 : place + 4])
        if code in _APPLICATION or code == _COMMENT:
            found += 2 + length
        place += 2 + length
    return found


def _of_webp(body: bytes, most: int) -> int:
    """Count the chunks with metadata, without their headers (RFC 9649, 2.7)."""
    found, place = 0, 12
    while found <= most and place + 8 <= len(body):
        size = int.from_bytes(body[place + 4 : place + 8], "little")
        if body[place : place + 4] in _WEBP_METADATA:
            found += size
        place += 8 + size + size % 2
    return found


def _of_gif(body: bytes, most: int) -> int:
    """Count the blocks of all extensions before the first image (GIF89a, 15 and 23 to 26)."""
    if len(body) < 13:  # its header
        return 0
    found, place = 0, 13 + (3 * (2 << (body[10] & 7)) if body[10] & 0x80 else 0)
    while found <= most and place + 2 < len(body):
        if not body[place]:
            found, place = found + GIF_BLOCK_BYTES, place + 1
            continue
        if body[place] != _GIF_EXTENSION:
            break
        place += 2
        while place < len(body) and found <= most:
            size = body[place]
            place += 1 + size
            if not size:
                break
            found += GIF_BLOCK_BYTES
    return found


COUNTS: MappingProxyType[str, Callable[[bytes, int], int]] = MappingProxyType(
    {"JPEG": _of_jpeg, "WEBP": _of_webp, "GIF": _of_gif}
)
"""How the metadata of a format is counted; the count ends a little above `most`."""
