"""Samples of more than 8 bits, signed or floating → 8 bits; docs/images.md lists each kind. Works strip by strip."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.deadline import GoOn, without_end
from service.imaging.tiff_predictor import Prediction, restored

STRIP_PIXELS = 1 << 18
"""The pixels that are converted at a time: their float64 values take 2 MB, whatever the size of the image."""

Alpha = Literal["straight", "premultiplied"]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Samples:
    """What the words of an image mean, where its reader only knows them as integers of some size.

    `type` is the NumPy type of a sample, in the byte order of this machine, and `bits` how many of its bits count.
    `per_pixel` samples follow each other in a row; `planes` images of one sample each follow each other from top to
    bottom. One sample is gray, two are gray and alpha, three are RGB, the fourth is alpha; `alpha` says whether that
    sample is used.
    """

    type: str
    bits: int
    is_white_zero: bool = False
    per_pixel: int = 1
    planes: int = 1
    alpha: Alpha | None = None
    transparent: int | None = None
    """The gray sample that is transparent, so white."""
    high_word_first: bool = False
    """A 64-bit sample was read as two words of 32 bits, the high one first."""
    packed_width: int = 0
    """The pixels of a row whose samples of 9 to 15 bits follow each other without gaps; the words are bytes then."""
    prediction: Prediction | None = None
    """How a TIFF's predictor made the rows, where they were read as bytes; `packed_width` is given too."""


def to_eight_bits(image: Image.Image, samples: Samples, go_on: GoOn = without_end) -> Image.Image:
    """Return the image in mode L or RGB, alpha composited over white.

    Integers without a sign are scaled from the whole range of their bits. Signed integers, 32-bit integers and floats
    do not say their range: the smallest usual one that holds the image's largest value is taken. Values below 0 and
    values that are not a number are 0, infinity is the largest.

    Args:
        image: the words, in a mode of one integer or float each.
        samples: what the words mean.
        go_on: called before each strip.
    """
    wide = 2 if np.dtype(samples.type).itemsize == 8 else 1  # two words of 32 bits
    width = samples.packed_width or image.width // (samples.per_pixel * wide)
    size = (width, image.height // samples.planes)
    top = _top(image, samples, go_on)
    channels = samples.planes * samples.per_pixel
    has_color = channels >= 3
    shown = Image.new("RGB" if has_color else "L", size)
    for place, values in _strips(image, samples, size):
        go_on()
        gray = _scaled(values, samples, top)
        shown.paste(Image.fromarray(gray if has_color else gray[..., 0]), (0, place))
    return shown


def in_strips(
    image: Image.Image,
    mode: str,
    convert: Callable[[Image.Image], Image.Image],
    go_on: GoOn = without_end,
) -> Image.Image:
    """Return `convert` of the image, which must work on each pixel alone; intermediate copies are of a strip."""
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    shown = Image.new(mode, image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        go_on()
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        shown.paste(convert(strip), (0, top))
    return shown


def _strips(
    image: Image.Image, samples: Samples, size: tuple[int, int]
) -> Iterator[tuple[int, Array]]:
    """Give each strip's first row and its samples: (rows, width, channels) of the samples' type."""
    width, height = size
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        planes = [
            np.asarray(image.crop((0, top + start, image.width, bottom + start)))
            for start in range(0, samples.planes * height, height)
        ]
        words = [_typed(plane, samples).reshape(bottom - top, width, -1) for plane in planes]
        yield top, words[0] if len(words) == 1 else np.concatenate(words, axis=2)


def _typed(words: Array, samples: Samples) -> Array:
    wanted = np.dtype(samples.type)
    if samples.prediction is not None:
        found = restored(words, samples.type, samples.prediction)
        return found[:, : samples.packed_width * samples.per_pixel]
    if samples.packed_width:
        return _unpacked(words, samples)
    native = np.ascontiguousarray(words, dtype=words.dtype.newbyteorder("="))
    if wanted.itemsize > native.itemsize and samples.high_word_first == (sys.byteorder == "little"):
        native = np.ascontiguousarray(native.reshape(-1, 2)[:, ::-1])
    return native.view(wanted)


def _unpacked(rows: Array, samples: Samples) -> Array:
    """Return the samples of rows of bytes, the highest bit of each sample first, uint16 (rows, samples of a row)."""
    count, bits = samples.packed_width * samples.per_pixel, samples.bits
    separate = np.unpackbits(rows, axis=1, count=count * bits).reshape(len(rows), count, bits)
    found = np.zeros(separate.shape[:2], np.uint16)
    for place in range(bits):
        found = found << 1 | separate[..., place]
    return found


def _top(image: Image.Image, samples: Samples, go_on: GoOn) -> float:
    """Return the value that is white (black where zero is white)."""
    kind = np.dtype(samples.type)
    if kind.kind == "u" and samples.bits <= 16:
        return float(2**samples.bits - 1)
    largest = 0.0
    height = image.height
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, height, rows):
        go_on()
        words = np.asarray(image.crop((0, top, image.width, min(top + rows, height))))
        largest = max(largest, _largest(_typed(words, samples)))
    usual: tuple[float, ...] = (255.0, 65535.0, 2.0**32 - 1)
    if kind.kind == "f":
        return next((top for top in (1.0, *usual) if largest <= top), usual[-1])
    whole = float(np.iinfo(kind).max)
    return next((top for top in usual if largest <= top < whole), whole)


def _largest(values: Array) -> float:
    """Return the largest finite value, or 0 where it is below."""
    largest = float(values.max(initial=0))  # of NaN and anything NaN
    if not np.isfinite(largest):
        largest = float(values[np.isfinite(values)].max(initial=0))
    return largest


def _scaled(values: Array, samples: Samples, top: float) -> NDArray[np.uint8]:
    """Return uint8 (rows, width, channels without alpha)."""
    if samples.bits <= 16 and np.dtype(samples.type).kind == "u" and samples.alpha is None:
        table = _looked_up(samples, top)
        return table[np.minimum(values[..., :3], int(top))]
    # In place: each copy of the values takes a tenth of a second of 64 million pixels.
    unit = values.astype(np.float64)
    np.fmax(unit, 0, out=unit)  # of NaN and 0 it is 0
    np.minimum(unit, top, out=unit)
    unit /= top
    colors = 3 if unit.shape[-1] >= 3 else 1
    color = unit[..., :colors]
    if samples.is_white_zero:
        color = 1 - color
    if samples.alpha:
        opaque = unit[..., colors : colors + 1]
        color = color * (opaque if samples.alpha == "straight" else 1) + (1 - opaque)
        color = np.clip(color, 0, 1)
    color *= 255
    np.rint(color, out=color)
    return color.astype(np.uint8)


def _looked_up(samples: Samples, top: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.rint(np.arange(int(top) + 1) * (255 / top)).astype(np.uint8)
    if samples.is_white_zero:
        np.subtract(255, table, out=table)
    if samples.transparent is not None and samples.transparent <= top:
        table[samples.transparent] = 255
    return table
