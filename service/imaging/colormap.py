"""Numbers → colors in even steps: perceived lightness rises with the value, and the hue goes from violet to yellow."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DARK, _LIGHT = 0.12, 0.96
"""OKLab lightness of the coldest and the hottest color."""
_HUES = (290.0, 455.0)
"""Degrees in OKLCh: from violet over red to yellow."""
_CHROMA = 0.17

_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
"""OKLab → LMS and LMS → linear sRGB: B. Ottosson, "A perceptual color space for image processing", 2020."""


@cache
def heat_colors() -> NDArray[np.uint8]:
    """Return the 256 colors from cold to hot, uint8 (256, 3)."""
    share = np.linspace(0, 1, 256)
    lightness = _DARK + (_LIGHT - _DARK) * share
    hue = np.radians(_HUES[0] + (_HUES[1] - _HUES[0]) * share)
    wanted = _CHROMA * np.sin(np.pi * np.clip(0.06 + 0.86 * share, 0, 1)) ** 0.6
    # Bisection: the largest chroma up to the wanted one that lies inside sRGB.
    low, high = np.zeros(256), wanted
    for _ in range(20):
        middle = (low + high) / 2
        shown = _linear_rgb(lightness, middle, hue)
        inside = ((shown >= 0) & (shown <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    linear = np.clip(_linear_rgb(lightness, low, hue), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colors: NDArray[np.uint8] = np.rint(encoded * 255).astype(np.uint8)
    return colors


def levels(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return values scaled to 0–255, uint8 of the same shape: `low` and below is 0, `high` and above is 255.

    Every value is 0 where `high` is not over `low`.
    """
    span = high - low
    if not span > 0:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.uint8] = np.rint(np.clip((values - low) / span, 0, 1) * 255).astype(np.uint8)
    return scaled


def colored(level: NDArray[np.uint8]) -> Image.Image:
    """Return levels, uint8 (H, W), as a palette image, mode P, in heat colors."""
    image = Image.fromarray(level).copy()
    image.putpalette(heat_colors().tobytes())
    return image


def _linear_rgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.float64]:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    shown: NDArray[np.float64] = (lab @ _TO_LMS.T) ** 3 @ _TO_LINEAR_RGB.T
    return shown
