"""The first frame of an AVIF → what is decoded for it, and held: by its AV1 frames, whatever size its boxes say."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from service.imaging.av1_frames import FrameReader, Frames
from service.imaging.avif import GRID, Avif, Picture
from service.imaging.avif_boxes import Budget

_SHOWN_BYTES = 12
"""Of a pixel of the canvas: the decoder's RGB or RGBA, a copy of it as bytes, and the image that Pillow makes."""

_LAYERS = frozenset({b"a1op", b"lsel"})
"""The properties that choose among the layers of a stream."""


class Decoded(NamedTuple):
    """What decoding a first frame takes.

    Attributes:
        pixels: for so many it takes memory, as an ordinary image has them.
        total: those of all layers that are decoded.
        bytes: what the decoder and Pillow hold at most, by the form of its samples.
    """

    pixels: int
    total: int
    bytes: int


def decoded(avif: Avif, budget: Budget) -> Decoded:
    """Return what decoding takes. Each use of a stream counts; opacity of the size of the canvas counts no pixels.

    Raises:
        BrokenImageError: it has more frames or units than any image.
        DeadlineError: from the check of the budget.
    """
    canvas = avif.size[0] * avif.size[1]
    reader, known = FrameReader(budget), dict[int, Frames]()
    pictures = list(avif.picture)
    budget.take(len(pictures))
    has_layers = any(one.kind in _LAYERS for picture in pictures for one in picture.properties)
    color, opacity = _Part(has_layers), _Part(has_layers)
    for picture, part in _with_parts(avif.picture, color, opacity):
        if picture.kind == GRID:
            part.is_grid = True
            continue
        if picture.stream in known:
            budget.take(known[picture.stream].units)
        else:
            known[picture.stream] = reader.frames_of(avif.streams[picture.stream])
        part.add(known[picture.stream], picture.size or avif.size)
    padding = canvas if color.is_grid else 0  # of its last row and column
    beside = max(opacity.scaled, opacity.largest) - canvas
    beside_total = max(opacity.scaled, opacity.total) - canvas
    return Decoded(
        max(canvas, color.scaled, color.largest - padding) + max(0, beside),
        max(canvas, color.scaled, color.total) + max(0, beside_total),
        color.held(canvas) + opacity.held(canvas) + canvas * _SHOWN_BYTES,
    )


@dataclass(slots=True)
class _Part:
    """The colors of a first frame, or its opacity: what all of its streams take together.

    `scaled` are the pixels of copies that have the size that boxes say, where frames have another one. Where no tile
    chooses among layers (`has_layers`), libavif has one decoder for all, which holds one tile at a time.
    """

    has_layers: bool

    largest: int = 0
    total: int = 0
    frame_bytes: int = 0
    scaled_bytes: int = 0
    scaled: int = 0
    pixel_bytes: int = 0
    is_grid: bool = False

    def add(self, frames: Frames, size: tuple[int, int]) -> None:
        """Add a stream; `size` is what boxes say."""
        self.largest += frames.largest
        self.total += frames.total
        together = self.frame_bytes + frames.bytes
        self.frame_bytes = together if self.has_layers else max(self.frame_bytes, frames.bytes)
        self.pixel_bytes = max(self.pixel_bytes, frames.pixel_bytes)
        if frames.size != size:
            pixels = size[0] * size[1]
            self.scaled += pixels
            self.scaled_bytes += pixels * frames.pixel_bytes // 2

    def held(self, canvas: int) -> int:
        """Return the bytes of all samples; tiles are copied to the canvas."""
        copied = canvas * self.pixel_bytes // 2 if self.is_grid else 0
        return self.frame_bytes + self.scaled_bytes + copied


def _with_parts(picture: Picture, color: _Part, opacity: _Part) -> Iterator[tuple[Picture, _Part]]:
    """Yield all pictures, and what each belongs to."""
    yield picture, color
    for tile in picture.tiles:
        yield from _with_parts(tile, color, opacity)
    if picture.opacity is not None:
        for one in picture.opacity:
            yield one, opacity
