"""An animated PNG → its stored frames, each read as a still PNG: PNG, third edition, sections 11.3.6 and 12.

FFmpeg loses what lies below some frames, and reads no animation whose first frame is smaller than its canvas.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from service.errors import BrokenImageError, BrokenVideoError
from service.imaging.decode import Limits, OpenedImage, open_image
from service.imaging.png import SIGNATURE, Chunk, Frame, chunks, frame_of
from service.imaging.png_pixels import PngFrame, clear_pixels, load_frame
from service.video.animation import AnimationFile, Disposal, Part, too_many_stored
from service.video.reader import MOST_ANIMATION_FRAMES

_HEADER_BYTES = 13
_MOST_CHUNKS = 200_000
"""Each frame has two chunks at least, and an animation may have 36,000 frames."""
_AFTER_FRAME = 20
"""Where a frame control chunk says more than the frame's place."""
_UNSTATED_SECONDS = 1 / 15
"""How long a frame without a delay is shown: as FFmpeg does it."""
_DISPOSALS: tuple[Disposal, ...] = ("keep", "clear", "restore")


class _Control(NamedTuple):
    """What a frame control chunk says."""

    frame: Frame
    delay: int
    per_second: int
    disposal: int
    blends: int

    @property
    def seconds(self) -> float:
        return self.delay / (self.per_second or 100) if self.delay else _UNSTATED_SECONDS


@dataclass(slots=True)
class _Found:
    """What is known from the chunks read so far; `shared` are those of the colors that all frames have."""

    header: bytes
    shared: list[Chunk] = field(default_factory=list)
    frames: list[tuple[_Control, list[Chunk]]] = field(default_factory=list)
    has_pixels: bool = False
    is_whole: bool = False


def read_apng(body: bytes, most_frames: int = MOST_ANIMATION_FRAMES) -> AnimationFile:
    """Return what the chunks say; no frame is decoded.

    Args:
        body: the file.
        most_frames: how many frames it may have.

    Raises:
        BrokenVideoError: the file has no whole header.
        TooManyFramesError: it has more frames.
    """
    found = _collect(body, most_frames)
    width, height = struct.unpack_from(">2I", found.header)
    parts: list[Part] = []
    seconds = 0.0
    for number, (control, pixels) in enumerate(found.frames):
        if not pixels:
            continue
        disposal = _DISPOSALS[control.disposal]
        if not number and disposal == "restore":
            disposal = "clear"
        read = partial(_still, found.header, found.shared, control.frame, pixels)
        parts.append(Part(seconds, control.frame.box, bool(control.blends), disposal, read))
        seconds += control.seconds
    return AnimationFile("apng", width, height, parts, seconds, found.is_whole)


def _collect(body: bytes, most_frames: int) -> _Found:
    found: _Found | None = None
    try:
        for chunk in chunks(body, _MOST_CHUNKS):
            if found is None:
                if chunk.kind != b"IHDR" or len(chunk.data) < _HEADER_BYTES or not chunk.is_whole:
                    break
                found = _Found(bytes(chunk.data[:_HEADER_BYTES]))
            elif chunk.kind == b"IEND" or not _take(chunk, found):
                found.is_whole = chunk.kind == b"IEND"
                break
            elif len(found.frames) > most_frames:
                raise too_many_stored("PNG", most_frames)
    except BrokenImageError:
        pass  # what comes after the damage is not read
    if found is None:
        raise BrokenVideoError(
            "The PNG's header can not be read: the file is damaged or cut short. Send the whole file."
        )
    return found


def _take(chunk: Chunk, found: _Found) -> bool:
    """Add a chunk; return whether those after it can be read."""
    match chunk.kind:
        case b"fcTL":
            control = _control(chunk, found)
            if control is None:
                return False
            found.frames.append((control, []))
        case b"IDAT":
            found.has_pixels = True
            # Without a frame before it, it is an image for programs that do not play animations.
            if len(found.frames) == 1:
                found.frames[-1][1].append(chunk)
        case b"fdAT" if found.frames:
            found.frames[-1][1].append(chunk)
        case b"PLTE" | b"tRNS" if not found.has_pixels:
            found.shared.append(chunk)
    return True


def _control(chunk: Chunk, found: _Found) -> _Control | None:
    """Return the frame control, None where it is damaged or its frame is not on the canvas."""
    frame = frame_of(chunk, found.header)
    if frame is None:
        return None
    control = _Control(frame, *struct.unpack_from(">2H2B", chunk.data, _AFTER_FRAME))
    return control if control.disposal < len(_DISPOSALS) else None


def _still(
    header: bytes, shared: Sequence[Chunk], frame: Frame, pixels: Sequence[Chunk]
) -> Image.Image:
    """Decode a frame, as a still PNG with the header of the animation and a size of its own.

    Raises:
        ImageError: pixels are missing or damaged.
    """
    size = struct.pack(">2I", frame.width, frame.height)
    pieces = [SIGNATURE, *_chunk(b"IHDR", size + header[8:], is_whole=True)]
    for chunk in shared:
        pieces += _chunk(chunk.kind, chunk.data, is_whole=chunk.is_whole)
    for chunk in pixels:
        is_whole = chunk.is_whole or chunk.checksum is None
        pieces += _chunk(b"IDAT", chunk.pixels, is_whole=is_whole)
    pieces += _chunk(b"IEND", b"", is_whole=True)
    opened = open_image(b"".join(pieces), Limits(frame.width * frame.height))
    assert isinstance(opened.file, PngFrame), "it is a PNG"
    return _with_alpha(opened, load_frame(opened.file))


def _chunk(kind: bytes, data: bytes | memoryview, *, is_whole: bool) -> list[bytes | memoryview]:
    checksum = zlib.crc32(data, zlib.crc32(kind)) ^ (not is_whole)
    return [struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)]


def _with_alpha(opened: OpenedImage, image: Image.Image) -> Image.Image:
    """Return the image in mode RGB or RGBA, 8 bits, with nothing composited."""
    png = opened.png
    if png is None or png.depth < 16 or image.mode == "RGBA":
        clear = "transparency" in image.info or image.mode in {"LA", "RGBA"}
        return image.convert("RGBA" if clear else "RGB")
    if image.mode == "RGB":
        if png.transparent:
            opacity = Image.new("L", image.size, 255)
            for box, same in clear_pixels(png, image):
                opacity.paste(0, box, same)
            image.putalpha(opacity)
        return image
    words = np.asarray(image)
    shown = Image.fromarray((words >> 8).astype(np.uint8)).convert("RGB")
    if png.transparent:
        opaque = np.where(words == png.transparent[0], 0, 255).astype(np.uint8)
        shown.putalpha(Image.fromarray(opaque))
    return shown
