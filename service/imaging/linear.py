"""Bilinear interpolation without antialiasing: each pixel of the result lies between four pixels of the image.

Pillow's transforms have it too, but they cut off the fraction of a value: frames are darker by half a level. So Pillow
fetches the four pixels, in its own memory, and they are mixed here.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.geometry import Box

PLACES = 1 << 28
"""Places are whole multiples of a pixel divided by this. So Pillow's sums of them, in float64, are exact, and it
fetches the pixels whose shares are computed here."""
BLOCK_VALUES = 1 << 16
"""So many values are mixed at once, which stay in a processor's cache."""


_Level = TypeVar("_Level", np.uint8, np.float32)


class _Side(NamedTuple):
    """Along one side, the place before the first pixel of the result, and the step to the next, in pixels.

    `share` is that of the second of two neighbors: float32, one for each pixel of the result.
    """

    origin: float
    step: float
    share: NDArray[np.float32]


def between_four_pixels(pixels: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Return the part of an image that `box` covers, at a size of `size`.

    Args:
        pixels: mode RGB or L.
        size: width and height of the result, in pixels.
        box: inside the image, in its pixels. The center of the first one is at 0.5; outside of the image its edge goes
            on.

    Returns:
        The same mode, with rounded values.
    """
    across = _side(box[0], box[2], size[0], pixels.width)
    down = _side(box[1], box[3], size[1], pixels.height)

    def fetched(x: int, y: int) -> NDArray[np.uint8]:
        matrix = (across.step, 0, across.origin + x, 0, down.step, down.origin + y)
        return np.asarray(pixels.transform(size, Image.Transform.AFFINE, matrix))

    corners = [fetched(x, y) for y in (0, 1) for x in (0, 1)]
    return Image.fromarray(_mixed(corners, across.share, down.share))


def _side(begin: float, end: float, count: int, length: int) -> _Side:
    origin = round((begin - 0.5) * PLACES) / PLACES
    step = round((end - begin) / count * PLACES) / PLACES
    places = origin + (np.arange(count) + 0.5) * step
    first = np.floor(places)
    share = places - first
    share[first < 0] = 1  # the first pixel of two is outside of the image, so the second one is all
    share[first >= length - 1] = 0
    return _Side(origin, step, share.astype(np.float32))


def _mixed(
    corners: list[NDArray[np.uint8]], across: NDArray[np.float32], down: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the result from its upper left, upper right, lower left and lower right pixels, each uint8 (H, W, …)."""
    made = np.empty_like(corners[0])
    row = made[0]
    across = np.repeat(across, row[0].size).reshape(row.shape)
    down = down.reshape(-1, *(1 for _ in row.shape))
    count = max(1, BLOCK_VALUES // row.size)
    for first in range(0, len(made), count):
        block = slice(first, first + count)
        upper_left, upper_right, lower_left, lower_right = (one[block] for one in corners)
        upper = _between(upper_left, upper_right, across)
        lower = _between(lower_left, lower_right, across)
        made[block] = _between(upper, lower, down[block]) + np.float32(0.5)
    return made


def _between(
    one: NDArray[_Level], other: NDArray[_Level], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    values: NDArray[np.float32] = other.astype(np.float32)
    values -= one
    values *= share
    values += one
    return values
