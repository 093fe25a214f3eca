"""Frames of animations, and what they show, composed by hand from the specification."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 24, 16
Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A frame of the file: pixels (h, w, 4) at a place, how long it stays in 1/100 s, and the two operations."""

    pixels: NDArray[np.uint8]
    left: int
    top: int
    delay: int
    dispose: int
    blend: int


def parts(dispose: int, blend: int, seed: int) -> list[Part]:
    """Return a whole frame, then smaller ones anywhere, of every opacity."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(6):
        width, height = (WIDTH, HEIGHT) if not number else rng.integers(4, 12, 2)
        # A WebP has even places only.
        left, top = (0, 0) if not number else 2 * rng.integers(0, 3, 2)
        pixels = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        pixels[: height // 3, :, 3] = 0
        pixels[-(height // 3) :, :, 3] = 255
        found.append(Part(pixels, int(left), int(top), 10 * (number + 1), dispose, blend))
    return found


def over(above: Floats, below: Floats) -> Floats:
    """Return one image over another, both (h, w, 4) of 0–1 and not premultiplied: PNG, section 13.16."""
    alpha, beneath = above[..., 3:], below[..., 3:] * (1 - above[..., 3:])
    total = alpha + beneath
    color = (above[..., :3] * alpha + below[..., :3] * beneath) / np.maximum(total, 1e-9)
    return np.concatenate([color, total], axis=2)


def composed(frames: list[Part]) -> list[Floats]:
    """Return what each frame shows over white, (h, w, 3) of 0–255: PNG, third edition, section 11.3.6.2."""
    canvas = np.zeros((HEIGHT, WIDTH, 4))
    white = np.ones((HEIGHT, WIDTH, 4))
    shown = []
    for number, one in enumerate(frames):
        height, width = one.pixels.shape[:2]
        area = np.s_[one.top : one.top + height, one.left : one.left + width]
        before = canvas.copy()
        pixels = one.pixels / 255
        canvas[area] = over(pixels, canvas[area]) if one.blend else pixels
        shown.append(over(canvas, white)[..., :3] * 255)
        if one.dispose == 1 or (one.dispose == 2 and not number):
            canvas[area] = 0
        elif one.dispose == 2:
            canvas = before
    return shown
