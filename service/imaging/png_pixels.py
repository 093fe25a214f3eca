"""A PNG's frame → its pixels, all of them and undamaged.

Pillow checks the checksum of the compressed stream only if it reads up to it, and it does not say when a stream ends
before the last row, or goes on behind it. So it decodes into an image with one row more than the frame has. The first
pixels of the last row and of the row behind it are marked: the one must change, the other must not, for a row is
decoded whole. What looks wrong is inflated once more, piece by piece, to say what it is.
"""

import zlib
from collections.abc import Iterator
from enum import Enum
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, ImagePalette

from service.errors import BrokenImageError
from service.imaging.deadline import GoOn, without_end
from service.imaging.depth import STRIP_PIXELS
from service.imaging.png import Png

PROVED_PIXELS = 16_000_000
"""Frames of more pixels are decoded without the row behind them, which costs a copy, and inflated once more."""

_MARK = 0xA5
"""A value that few pixels have. An image whose last row starts with it is inflated once more."""

_PIECE = 1 << 16
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""The passes of an interlaced image: first column and row, then the steps (PNG, third edition, 8.1)."""


class _State(Enum):
    WHOLE = "whole"
    DAMAGED = "damaged"
    CUT = "cut"


class PngFrame(ImageFile.ImageFile):
    """Pillow's image of a PNG's frame; no pixel is decoded yet.

    The whole stream is decoded in one call, so that Pillow reads its checksum too.

    Args:
        png: the frame.
        is_proved: whether it is decoded with the row behind it, so that `load` finds missing and damaged pixels.
        raw_mode: how the samples are stored, where it is not what the file says.
    """

    def __init__(self, png: Png, *, is_proved: bool = False, raw_mode: str | None = None) -> None:
        self.png = png
        self.go_on: GoOn = without_end
        self.is_proved = is_proved
        self._raw_mode = raw_mode or png.raw_mode
        self._mark: object = None
        stream = b"".join([chunk.pixels for chunk in png.chunks])
        super().__init__(BytesIO(stream))
        self.decodermaxblock = len(stream) + 1

    def _open(self) -> None:
        png = self.png
        width, height = png.size
        self._mode = png.mode
        self._size = (width, height + self.is_proved)
        tile = ImageFile._Tile("zip", (0, 0, *self._size), 0, self._raw_mode)  # noqa: SLF001  # as Pillow documents
        self.tile = [tile]
        if png.is_interlaced:
            self.decoderconfig = (1,)
        if png.palette is not None:
            self.palette = ImagePalette.raw("RGB", png.palette)
            if png.alpha is not None:
                self.info["transparency"] = png.alpha

    def load_prepare(self) -> None:
        super().load_prepare()
        if self.is_proved:
            height = self._size[1]
            self.im.putpixel((0, height - 2), _MARK)
            self.im.putpixel((0, height - 1), _MARK)
            self._mark = self.im.getpixel((0, height - 1))

    def load_end(self) -> None:
        if not self.is_proved:
            return
        width, height = self._size
        last, behind = self.im.getpixel((0, height - 2)), self.im.getpixel((0, height - 1))
        if last == self._mark or behind != self._mark:
            _check(self.png, self.go_on)
        self._size = (width, height - 1)
        self.im = self.im.crop((0, 0, *self._size))


def open_frame(png: Png) -> PngFrame:
    """Return Pillow's image of the frame, to be given to `load_frame`."""
    width, height = png.size
    return PngFrame(png, is_proved=not png.is_interlaced and width * height <= PROVED_PIXELS)


def load_frame(file: PngFrame, go_on: GoOn = without_end) -> Image.Image:
    """Return the pixels of the frame, in the mode that Pillow gives them.

    Raises:
        BrokenImageError: pixels are missing or damaged.
    """
    file.go_on = go_on
    if not file.is_proved:
        _check(file.png, go_on)
        return _with_known_filters(file)
    try:
        file.load()
    except OSError:
        _check(file.png, go_on)
        whole = PngFrame(file.png)
        whole.info |= file.info
        return _with_known_filters(whole)
    return file


def clear_pixels(
    png: Png, high: Image.Image, go_on: GoOn = without_end
) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yield the boxes of a 16-bit RGB frame, strip by strip, and where each has the transparent color, mode 1.

    All 16 bits of a sample must be equal to it. Pillow keeps the high byte of each sample. Reading the same bytes in
    the other byte order gives the low bytes.

    Args:
        png: the frame, with a transparent color.
        high: its pixels as `load_frame` gives them.
        go_on: called before each strip.
    """
    low = PngFrame(png, raw_mode="RGB;16L")
    low.load()
    color = np.array(png.transparent)
    rows = max(1, STRIP_PIXELS // high.width)
    for top in range(0, high.height, rows):
        go_on()
        box = (0, top, high.width, min(top + rows, high.height))
        same = (np.asarray(high.crop(box)) == color >> 8) & (
            np.asarray(low.crop(box)) == color & 255
        )
        yield box, Image.fromarray(same.all(axis=2))


def _with_known_filters(file: PngFrame) -> PngFrame:
    """Decode a frame whose stream is whole."""
    try:
        file.load()
    except OSError as error:
        raise BrokenImageError(
            "The PNG's pixels are damaged: a row has a filter that PNG does not have. Send the original file."
        ) from error
    return file


def _check(png: Png, go_on: GoOn) -> None:
    match _state(png, go_on):
        case _State.DAMAGED:
            raise BrokenImageError(
                "The PNG's pixels are damaged: their checksum is not the one in the file. Send the original file."
            )
        case _State.CUT:
            raise BrokenImageError(
                "The PNG is damaged or cut short: it has fewer pixels than its header says. Send the original file."
            )


def _state(png: Png, go_on: GoOn) -> _State:
    """Inflate the frame and say whether it is whole.

    The checksum of the stream decides. Where the file lacks it, those of the chunks do. A stream may be longer than the
    pixels, as browsers allow; it is not inflated beyond twice their size, and the chunks decide then too.
    """
    needed = pixel_bytes(png)
    stream = zlib.decompressobj()
    found = 0
    try:
        for piece in _inflated(png, stream):
            go_on()
            found += piece
            if found > 2 * needed + _PIECE:
                break
    except zlib.error:
        return _State.DAMAGED
    if found < needed:
        return _State.CUT
    are_sound = all(chunk.is_whole for chunk in png.chunks if chunk.checksum is not None)
    return _State.WHOLE if stream.eof or are_sound else _State.DAMAGED


def _inflated(png: Png, stream: "zlib._Decompress") -> Iterator[int]:
    """Give the sizes of the pieces that the chunks inflate to."""
    for chunk in png.chunks:
        data: bytes | memoryview = chunk.pixels
        while data and not stream.eof:
            yield len(stream.decompress(data, _PIECE))
            data = stream.unconsumed_tail
    yield len(stream.flush())  # of a stream that ends before its checksum


def pixel_bytes(png: Png) -> int:
    """Return the bytes that a frame's rows take before they are compressed, each with the byte of its filter."""
    width, height = png.size
    passes = _PASSES if png.is_interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns = max(0, -(-(width - left) // across))
        rows = max(0, -(-(height - top) // down))
        if columns:
            total += rows * (1 + (columns * png.pixel_bits + 7) // 8)
    return total
