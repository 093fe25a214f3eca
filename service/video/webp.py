"""An animated WebP → its stored frames, each read as a still image: RFC 9649, section 2.7."""

import struct
from functools import partial
from io import BytesIO

from PIL import Image

from service.errors import BrokenVideoError
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.shortage import require_memory
from service.imaging.webp_codes import frame_codes
from service.video.animation import AnimationFile, Part, too_many_stored
from service.video.reader import MOST_ANIMATION_FRAMES

MOST_CHUNKS = 1_000_000
"""After so many chunks the file ends: a hostile one may consist of nothing else."""
MOST_CODE_BYTES = 64 << 20
"""What the prefix codes of a frame may take; those that libwebp's encoder writes take half of it at most."""
_CANVAS_AT, _FIRST_CHUNK_AT, _FRAME_BYTES = 24, 12, 16
_ALPHA_FLAG = 0x10


def read_webp(body: bytes, most_frames: int = MOST_ANIMATION_FRAMES) -> AnimationFile:
    """Return what the headers say; no frame is decoded.

    Args:
        body: the file.
        most_frames: how many frames it may have.

    Raises:
        BrokenVideoError: the file ends within its header.
        TooManyFramesError: it has more frames.
    """
    if len(body) < _CANVAS_AT + 6:
        raise BrokenVideoError("The WebP ends within its header. Send the whole file.")
    view = memoryview(body)
    width, height = (1 + _small(body, at) for at in (_CANVAS_AT, _CANVAS_AT + 3))
    declared = 8 + int.from_bytes(body[4:8], "little")
    parts: list[Part] = []
    milliseconds, at = 0, _FIRST_CHUNK_AT
    for _ in range(MOST_CHUNKS):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        if at + 8 + size > min(len(body), declared) or at + 8 > len(body):
            break
        if body[at : at + 4] == b"ANMF" and size >= _FRAME_BYTES:
            if len(parts) == most_frames:
                raise too_many_stored("WebP", most_frames)
            parts.append(_part(view[at + 8 : at + 8 + size], milliseconds / 1000))
            milliseconds += _small(body, at + 8 + 12)
        at += 8 + size + size % 2
    is_whole = declared <= len(body) + 1 and at >= declared - 1
    return AnimationFile("webp", width, height, parts, milliseconds / 1000, is_whole)


def _small(data: bytes | memoryview, at: int) -> int:
    """Return a number of 24 bits."""
    return int.from_bytes(data[at : at + 3], "little")


def _part(data: memoryview, seconds: float) -> Part:
    left, top = 2 * _small(data, 0), 2 * _small(data, 3)
    width, height = 1 + _small(data, 6), 1 + _small(data, 9)
    flags = data[15]
    box = (left, top, left + width, top + height)
    read = partial(_still, data[_FRAME_BYTES:], (width, height))
    return Part(seconds, box, not flags & 2, "clear" if flags & 1 else "keep", read)


def _still(chunks: memoryview, size: tuple[int, int]) -> Image.Image:
    """Decode a frame, as a still image with a header of its own, whose size the decoder checks.

    Raises:
        BrokenVideoError: its prefix codes take more memory than frames do.
    """
    _check_codes(bytes(chunks), size)
    flags = 0 if bytes(chunks[:4]) == b"VP8 " else _ALPHA_FLAG
    width, height = (struct.pack("<I", side - 1)[:3] for side in size)
    header = struct.pack("<4sIB3x", b"VP8X", 10, flags) + width + height
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(header) + len(chunks), b"WEBP")
    file = BytesIO(b"".join((riff, header, chunks)))
    try:
        with Image.open(file, formats=["WEBP"]) as image:
            image.load()
            return image
    except PILLOW_FAULTS:
        require_memory(size[0] * size[1])
        raise


def _check_codes(chunks: bytes, size: tuple[int, int]) -> None:
    groups, held = frame_codes(chunks, size)
    if held > MOST_CODE_BYTES:
        raise BrokenVideoError(
            f"A frame of the WebP has {groups} groups of prefix codes, which take more memory than its pixels may. "
            "Encode it again."
        )
