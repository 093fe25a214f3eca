"""A part of an image → the same at another size: Pillow's resize, or its two passes by SIMD instructions.

Each filter of Pillow's resize but `nearest` becomes wider where the image becomes smaller (antialiasing). `linear` does
not, so it is bilinear only where the image becomes larger.

cykooz-resizer works on Pillow's own memory, and lets go of the interpreter's lock meanwhile. There are wheels of it for
some platforms only; on the others Pillow does all of it.
"""

import math
import struct
from typing import NamedTuple

import PIL
from PIL import Image

from service.card import Interpolation
from service.imaging.geometry import Box
from service.imaging.linear import between_four_pixels

try:
    import cykooz_resizer as simd
except ImportError:  # there is no wheel of it for this platform
    simd = None

RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Those of Pillow's resize. `linear` is in a module of its own."""

SAMPLING: frozenset[Interpolation] = frozenset({"nearest", "linear"})
"""They read one or four pixels for each pixel of the frame, and skip those between."""

PILLOW_MAJOR = int(PIL.__version__.partition(".")[0])
KNOWN_PILLOWS = range(11, 14)
"""cykooz-resizer reads the structure of an image in C, which a release of Pillow may change."""


class Kernel(NamedTuple):
    """An interpolation that both have: cykooz-resizer's name of it, and how far it reaches, in pixels."""

    filter: str
    reach: float


KERNELS: dict[Interpolation, Kernel] = {
    "bilinear": Kernel("bilinear", 1.0),
    "bicubic": Kernel("catmull_rom", 2.0),
    "lanczos": Kernel("lanczos3", 3.0),
}
"""The filter `box` of cykooz-resizer takes other pixels where an edge lies in a pixel's middle; it has no Hamming."""

HAS_SIMD = simd is not None and PILLOW_MAJOR in KNOWN_PILLOWS
RESIZER = "cykooz-resizer (SIMD)" if HAS_SIMD else "Pillow, without SIMD"
"""What resizes here, in words."""
LONGEST_SIMD_SIDE = 1 << 16
"""It bounds the library's tables of weights to 3 MB. On far longer sides 16 bits for a weight are too few."""
FEWEST_PIXELS = 4096
"""If both passes make fewer pixels together, starting cykooz-resizer takes longer than they take in Pillow."""

_Span = tuple[float, float]
"""Where the box begins on a side, and how long it is, in pixels."""
_FOUR, _TWO = struct.Struct("4f"), struct.Struct("2f")


def resample(
    pixels: Image.Image, size: tuple[int, int], interpolation: Interpolation, box: Box
) -> Image.Image:
    """Return the part of an image that `box` covers, at a size of `size`.

    Args:
        pixels: mode RGB or L.
        size: width and height of the result, in pixels.
        interpolation: how it is resized.
        box: inside the image, in its pixels; not empty.

    Returns:
        The same mode. Where SIMD is used, few values are others than Pillow's, nearly all by 1.
    """
    if interpolation == "linear":
        if box[2] - box[0] > size[0] or box[3] - box[1] > size[1]:
            return between_four_pixels(pixels, size, box)
        interpolation = "bilinear"  # the same where no side becomes smaller
    is_worth_it = size[0] * (size[1] + box[3] - box[1]) >= FEWEST_PIXELS
    if HAS_SIMD and is_worth_it and interpolation in KERNELS:
        across, down = _as_pillow_reads(box)
        if _suits_simd(pixels, size, across, down):
            return _by_simd(pixels, size, KERNELS[interpolation], across, down)
    return by_pillow(pixels, size, interpolation, box)


def by_pillow(
    pixels: Image.Image,
    size: tuple[int, int],
    interpolation: Interpolation,
    box: Box,
    reducing_gap: float | None = None,
) -> Image.Image:
    """Return what `resample` does, by Pillow; a larger image is first reduced to `reducing_gap` times the size."""
    return pixels.resize(size, RESAMPLING[interpolation], box, reducing_gap)


def _as_pillow_reads(box: Box) -> tuple[_Span, _Span]:
    """Return the box as spans across and down; Pillow has float32 for its edges, and for their differences."""
    left, top, right, bottom = _FOUR.unpack(_FOUR.pack(*box))
    width, height = _TWO.unpack(_TWO.pack(right - left, bottom - top))
    return (left, width), (top, height)


def _suits_simd(pixels: Image.Image, size: tuple[int, int], across: _Span, down: _Span) -> bool:
    if pixels.mode not in {"RGB", "L"} or max(*pixels.size, *size) > LONGEST_SIMD_SIDE:
        return False
    if min(across[0], down[0]) < 0 or min(across[1], down[1]) <= 0:
        return False
    if across[0] + across[1] > pixels.width or down[0] + down[1] > pixels.height:
        return False
    return size != pixels.size or size != (across[1], down[1])  # else it is a copy


def _by_simd(
    pixels: Image.Image, size: tuple[int, int], kernel: Kernel, across: _Span, down: _Span
) -> Image.Image:
    """Resize in two passes, in Pillow's order: between them, values are rounded and clipped to 0–255."""
    if _is_vertical_first(pixels.size, size):
        first, last = _used(across, size[0], kernel.reach, pixels.width)
        strip = (first, last - first)
        between = _pass(pixels, (last - first, size[1]), kernel, strip, down)
        return _pass(between, size, kernel, (across[0] - first, across[1]), (0, size[1]))
    first, last = _used(down, size[1], kernel.reach, pixels.height)
    strip = (first, last - first)
    between = _pass(pixels, (size[0], last - first), kernel, across, strip)
    return _pass(between, size, kernel, (0, size[0]), (down[0] - first, down[1]))


def _is_vertical_first(stored: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether this Pillow makes the pass from row to row first (its pull request 9549, since 13.0)."""
    fewer_columns, fewer_rows = stored[0] - size[0], stored[1] - size[1]
    return PILLOW_MAJOR >= 13 and fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def _used(span: _Span, count: int, reach: float, length: int) -> tuple[int, int]:
    """Return the first pixel of a side that a pass reads, and the one behind the last; one more is no harm."""
    begin, extent = span
    step = extent / count
    radius = reach * max(step, 1.0)
    first = math.floor(begin + step / 2 - radius) - 1
    last = math.ceil(begin + extent - step / 2 + radius) + 1
    return max(0, first), min(length, last)


def _pass(
    pixels: Image.Image, size: tuple[int, int], kernel: Kernel, across: _Span, down: _Span
) -> Image.Image:
    """Resize along one side. A resizer has a lock of its own, so each call has its own resizer."""
    made = Image.new(pixels.mode, size, None)
    box = simd.CropBox(across[0], down[0], across[1], down[1])
    algorithm = simd.ResizeAlg.convolution(simd.FilterType[kernel.filter])
    options = simd.ResizeOptions(resize_alg=algorithm, use_alpha=False, crop_box=box)
    simd.Resizer().resize_pil(pixels, made, options)
    return made
