"""What a reader would hold of an image beside its pixels: EXIF, XMP, color profiles, comments, tags. It is bounded.

Each format is counted before its reader sees the file, from the file's own structure. Text and profiles of a PNG, and
all of an AVIF but its color profile, are not held, so they do not count.
"""

from collections.abc import Callable
from types import MappingProxyType

from service.errors import TooMuchMetadataError

MAX_METADATA_BYTES = 16 * 1024 * 1024

_SCAN = 0xDA
_COMMENT = 0xFE
_APPLICATION = range(0xE0, 0xF0)
_WITHOUT_LENGTH = frozenset((*range(0xC0), 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
"""The codes behind which Pillow's reader goes on with the next byte."""
_WEBP_METADATA = frozenset({b"ICCP", b"EXIF", b"XMP "})
_WEBP_FRAME = b"ANMF"
_GIF_HEADER_BYTES = 13
_GIF_EXTENSION = 0x21
_GIF_COMMENT, _GIF_APPLICATION = b"\xfe", b"\xff"
_GIF_LOOP = b"NETSCAPE2.0"
_GIF_IMAGE_OR_END = b",;"
GIF_BLOCK_BYTES = 256
"""What a block of a GIF counts, however short it is: the work is that of a whole one."""
FREE_WEBP_CHUNKS, WEBP_CHUNK_BYTES = 1000, 256
"""What a chunk of a WebP counts that is no frame, after so many: its reader keeps a note of each."""


def require_little_metadata(body: bytes, form: str, most: int) -> None:
    """Refuse an image with more metadata than `most` bytes.

    Args:
        body: the encoded image.
        form: its format, by Pillow's name.
        most: bytes.

    Raises:
        TooMuchMetadataError: it has more.
    """
    if metadata_bytes(body, form, most) > most:
        raise too_much(form, most)


def metadata_bytes(body: bytes, form: str, most: int) -> int:
    """Return how many bytes of metadata count; the count ends a little above `most`.

    Args:
        body: the encoded image.
        form: its format, by Pillow's name.
        most: bytes.
    """
    count = COUNTS.get(form)
    return 0 if count is None else count(body, most)


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
        if code == _SCAN:
            break
        if code == 0xFF:  # a fill byte
            place += 1
        elif code in _WITHOUT_LENGTH:
            place += 2
        else:
            length = max(2, int.from_bytes(body[place + 2 : place + 4]))
            if code in _APPLICATION or code == _COMMENT:
                found += 2 + length
            place += 2 + length
    return found


def _of_webp(body: bytes, most: int) -> int:
    """Count the chunks with metadata, without their headers (RFC 9649, 2.7), and those that are far too many."""
    found, place, others = 0, 12, 0
    while found <= most and place + 8 <= len(body):
        size = int.from_bytes(body[place + 4 : place + 8], "little")
        kind = body[place : place + 4]
        if kind in _WEBP_METADATA:
            found += size
        others += kind != _WEBP_FRAME
        if others > FREE_WEBP_CHUNKS and kind != _WEBP_FRAME:
            found += WEBP_CHUNK_BYTES
        place += 8 + size + size % 2
    return found


def _of_gif(body: bytes, most: int) -> int:
    """Count the blocks of all extensions before the first image (GIF89a, 15 and 23 to 26).

    It goes through the file as Pillow's reader does, also where extensions have no block or bytes stand between them.
    """
    if len(body) < _GIF_HEADER_BYTES:
        return 0
    table = 3 * (2 << (body[10] & 7)) if body[10] & 0x80 else 0
    place, limit = _GIF_HEADER_BYTES + table, most // GIF_BLOCK_BYTES
    blocks = 0
    while blocks <= limit and place < len(body) and body[place] not in _GIF_IMAGE_OR_END:
        if body[place] != _GIF_EXTENSION:  # a byte between extensions
            blocks, place = blocks + 1, place + 1
            continue
        code, place = body[place + 1 : place + 2], place + 2
        if code != _GIF_COMMENT:  # its first block may be empty, and others follow
            is_loop = code == _GIF_APPLICATION and body.startswith(_GIF_LOOP, place + 1)
            for _ in range(1 + is_loop):
                blocks, place = blocks + 1, _behind_block(body, place)
        elif body[place : place + 1] == b"\0":  # a comment without a block
            blocks += 1
        while blocks <= limit and place < len(body) and body[place]:
            blocks, place = blocks + 1, _behind_block(body, place)
        place += 1
    return blocks * GIF_BLOCK_BYTES


def _behind_block(body: bytes, place: int) -> int:
    return place + 1 + (body[place] if place < len(body) else 0)


COUNTS: MappingProxyType[str, Callable[[bytes, int], int]] = MappingProxyType(
    {"JPEG": _of_jpeg, "WEBP": _of_webp, "GIF": _of_gif}
)
"""How the metadata of a format is counted; the count ends a little above `most`."""
