"""Heat laid over an image, and heat alone."""

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.imaging.colormap import colored, heat_colors
from service.imaging.geometry import Box

Pixels = tuple[int, int, int, int]
"""(left, top, right, bottom), the last two beyond."""

_STRONG = 0.8
"""How much of the image the hottest color hides; the coldest one hides nothing."""
_GRAYED = 0.5
"""How much of its own color the image loses, so that the heat's colors stand alone."""
_UNSEEN = 0.6
"""How far the image fades to white where the network saw nothing of it."""
_NO_HEAT = (240, 240, 242)


def overlay_heat(image: Image.Image, levels: NDArray[np.uint8], seen: Pixels) -> Image.Image:
    """Return the RGB image, paled, under the heat: the hotter, the less see-through.

    Args:
        image: as displayed.
        levels: uint8 (height, width), 0 cold to 255 hot.
        seen: the part of the image that the network saw, in whole pixels; the rest fades.
    """
    pixels = np.asarray(image).astype(np.float32)
    gray = np.asarray(image.convert("L")).astype(np.float32)[..., None]
    quiet = pixels * (1 - _GRAYED) + gray * _GRAYED
    share = levels.astype(np.float32)[..., None] / 255
    opacity = _STRONG * share**0.75
    colors = heat_colors()[levels].astype(np.float32)
    faded = pixels * (1 - _UNSEEN) + 255 * _UNSEEN
    left, top, right, bottom = seen
    mixed = faded
    mixed[top:bottom, left:right] = (quiet * (1 - opacity) + colors * opacity)[
        top:bottom, left:right
    ]
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def heat_image(levels: NDArray[np.uint8], seen: Pixels) -> Image.Image:
    """Return the heat alone, RGB, gray where the network saw nothing; see `overlay_heat`."""
    left, top, right, bottom = seen
    alone = Image.new("RGB", (levels.shape[1], levels.shape[0]), _NO_HEAT)
    alone.paste(colored(levels[top:bottom, left:right]).convert("RGB"), (left, top))
    return alone


def mark_boxes(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return the image with outlined boxes, the first in the hottest color."""
    marked = image.copy()
    pen = ImageDraw.Draw(marked)
    width = max(2, round(min(image.size) / 150))
    for place, box in reversed(list(enumerate(boxes))):
        level = round(235 - 110 * place / max(1, len(boxes) - 1))
        red, green, blue = heat_colors()[level].tolist()
        pen.rectangle(box, outline=(20, 16, 28), width=width + 2)
        inner = (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)
        pen.rectangle(inner, outline=(red, green, blue), width=width)
    return marked


def crop_image(image: Image.Image, box: Box, side: int = 224) -> Image.Image:
    """Return a part of the image, scaled until its longer side has `side` pixels."""
    width, height = box[2] - box[0], box[3] - box[1]
    factor = side / max(width, height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return image.resize(size, Image.Resampling.BICUBIC, box=box)


def thumbnail(image: Image.Image) -> str:
    """Return a small image as a `data:` URL."""
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def level_thumbnail(levels: NDArray[np.uint8]) -> str:
    """Return a map of levels 0–255, in heat colors, as a `data:` URL."""
    return thumbnail(colored(levels))
