"""A GIF → its stored frames, each read as a GIF of one image: GIF89a, sections 17 to 27. Its blocks are walked once."""

import struct
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from service.errors import BrokenVideoError
from service.video.animation import AnimationFile, Disposal, Part, too_many_stored
from service.video.reader import MOST_ANIMATION_FRAMES

MOST_BLOCKS = 2_000_000
"""Images, extensions, blocks of data and end marks together. 256 MiB of whole blocks are a million of them."""

_HEADER_BYTES, _IMAGE_BYTES, _END_BYTES = 13, 10, 1024
_EXTENSION, _IMAGE, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07
_LEAST_DELAY, _USUAL_DELAY = 2, 10
"""Hundredths of a second. Browsers show a frame with less than the first for the second."""
_DISPOSALS: dict[int, Disposal] = {2: "clear", 3: "restore"}


class _Control(NamedTuple):
    """What a graphic control extension says of the image after it; `clear` is the transparent color, None for none."""

    disposal: Disposal = "keep"
    delay: int = 0
    clear: int | None = None


_NO_CONTROL = _Control()


class _Image(NamedTuple):
    """An image: its place, the byte of its flags, its color table, and its data with the code size before it."""

    left: int
    top: int
    width: int
    height: int
    flags: int
    table: bytes
    data: memoryview
    control: _Control


@dataclass(slots=True)
class _Found:
    """What is known from the blocks read so far; of the `most` that are read, `left` are left."""

    body: bytes
    view: memoryview
    table: bytes
    most: int
    left: int
    most_frames: int
    control: _Control = _NO_CONTROL
    images: list[_Image] = field(default_factory=list)
    is_whole: bool = False
    """The end mark was there."""


def read_gif(
    body: bytes, most_blocks: int = MOST_BLOCKS, most_frames: int = MOST_ANIMATION_FRAMES
) -> AnimationFile:
    """Return what the blocks say; no frame is decoded.

    A first image that exceeds the screen enlarges it, as in browsers.

    Args:
        body: the file.
        most_blocks: how many blocks it may have.
        most_frames: how many images it may have.

    Raises:
        BrokenVideoError: the file ends within its header, or has too many blocks.
        TooManyFramesError: it has more images.
    """
    if len(body) < _HEADER_BYTES:
        raise BrokenVideoError(
            "The video's header can not be read: the file is damaged or cut short. Send the whole file."
        )
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    found = _Found(
        body,
        memoryview(body),
        _table(body, _HEADER_BYTES, flags),
        most_blocks,
        most_blocks,
        most_frames,
    )
    _collect(found, _HEADER_BYTES + len(found.table))
    if found.images:
        first = found.images[0]
        width, height = max(width, first.left + first.width), max(height, first.top + first.height)
    parts: list[Part] = []
    hundredths = 0
    for image in found.images:
        box = (image.left, image.top, image.left + image.width, image.top + image.height)
        disposal, delay, clear = image.control
        read = partial(_still, image)
        parts.append(Part(hundredths / 100, box, clear is not None, disposal, read))
        hundredths += delay if delay >= _LEAST_DELAY else _USUAL_DELAY
    return AnimationFile("gif", width, height, parts, hundredths / 100, found.is_whole)


def _table(body: bytes, at: int, flags: int) -> bytes:
    return bytes(body[at : at + 3 * (2 << (flags & _TABLE_SIZE))]) if flags & _HAS_TABLE else b""


def _collect(found: _Found, at: int) -> None:
    body = found.body
    while at < len(body):
        _count(found)
        kind = body[at]
        if kind == _IMAGE and at + _IMAGE_BYTES < len(body):
            at = _take_image(found, at)
        elif kind == _EXTENSION and at + 2 < len(body):
            if body[at + 1] == _CONTROL and body[at + 2] >= 4:
                found.control = _control(body[at + 3 : at + 7])
            at = _end_of_blocks(found, at + 2)
        elif not kind:  # some programs write one end mark too many
            at += 1
        else:  # some programs write more behind the trailer, or before it
            is_cut = kind in {_IMAGE, _EXTENSION}
            found.is_whole = kind == _TRAILER or (not is_cut and _ends_with_trailer(body))
            return


def _ends_with_trailer(body: bytes) -> bool:
    return body[-_END_BYTES:].rstrip(b"\0").endswith(bytes([_TRAILER]))


def _count(found: _Found) -> None:
    found.left -= 1
    if found.left < 0:
        raise BrokenVideoError(f"The GIF has more than {found.most} blocks. Encode it again.")


def _control(data: bytes) -> _Control:
    if len(data) < 4:
        return _NO_CONTROL
    flags, delay, clear = struct.unpack("<BHB", data)
    return _Control(
        _DISPOSALS.get(flags >> 2 & 7, "keep"), delay, int(clear) if flags & 1 else None
    )


def _take_image(found: _Found, at: int) -> int:
    """Add an image that is whole, and return where it ends."""
    left, top, width, height, flags = struct.unpack_from("<4HB", found.body, at + 1)
    own = _table(found.body, at + _IMAGE_BYTES, flags)
    start = at + _IMAGE_BYTES + len(own)
    end = _end_of_blocks(found, start + 1)
    if end <= len(found.body) and width and height:
        if len(found.images) == found.most_frames:
            raise too_many_stored("GIF", found.most_frames)
        data = found.view[start:end]
        table = own or found.table
        found.images.append(_Image(left, top, width, height, flags, table, data, found.control))
    found.control = _NO_CONTROL
    return end


def _end_of_blocks(found: _Found, at: int) -> int:
    """Return where a series of blocks ends, its end mark included; behind the end of the file where it is cut."""
    body, left = found.body, found.left
    while at < len(body) and left > 0:
        left -= 1
        size = body[at]
        at += 1 + size
        if not size:
            found.left = left
            return at
    found.left = left
    if at < len(body):
        _count(found)
    return len(body) + 1


def _still(image: _Image) -> Image.Image:
    """Decode an image, as a GIF with a screen of its size."""
    size = struct.pack("<2H", image.width, image.height)
    count = len(image.table) // 3
    flags = _HAS_TABLE | (count.bit_length() - 2) if count else 0
    clear = image.control.clear
    pieces = [b"GIF89a", size, bytes([flags, 0, 0]), image.table]
    if clear is not None:
        pieces.append(bytes([_EXTENSION, _CONTROL, 4, 1, 0, 0, clear, 0]))
    interlaced = image.flags & 0x40
    pieces += [bytes([_IMAGE, 0, 0, 0, 0]), size, bytes([interlaced])]
    body = b"".join((*pieces, image.data, bytes([_TRAILER])))
    with Image.open(BytesIO(body), formats=["GIF"]) as file:
        file.load()
        return file.convert("RGB" if clear is None else "RGBA")
