"""A color for every class id: very different for neighboring ids, the same in every image."""

import colorsys
from functools import cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

_GOLDEN = 0.618033988749895
"""The golden ratio's fraction: each next hue falls into the largest remaining gap."""


BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)


@cache
def class_color(class_id: int) -> Color:
    """Return the color (R, G, B) of a class; it is never black, white or gray."""
    hue = (0.96 + class_id * _GOLDEN) % 1
    saturation, value = ((0.78, 0.95), (0.62, 0.80), (0.90, 0.70))[class_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def class_colors() -> NDArray[np.uint8]:
    """Return the colors of all ids of a mask, uint8 (256, 3)."""
    return np.array([class_color(class_id) for class_id in range(256)], np.uint8)


def ink_on(color: Color) -> Color:
    """Return the text color, black or white, that has more contrast on `color` (relative luminance of WCAG 2)."""
    linear = [
        channel / 255 / 12.92 if channel <= 10 else ((channel / 255 + 0.055) / 1.055) ** 2.4
        for channel in color
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return BLACK if luminance > 0.179 else WHITE
