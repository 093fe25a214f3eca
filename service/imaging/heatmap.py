"""Heat maps laid over an image or drawn alone, and small images for JSON."""

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.imaging.colormap import colored, heat_colors
from service.imaging.geometry import Box

Pixels = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels; right and bottom are exclusive."""

_STRONG = 0.8
"""Opacity of the hottest color; the coldest one is transparent."""
_GRAYED = 0.5
"""How far the image goes to gray, so that the only strong colors are those of the heat."""
_UNSEEN = 0.6
"""How far the image goes to white where the network did not see it."""
_NO_HEAT = (240, 240, 242)


def overlay_heat(image: Image.Image, levels: NDArray[np.uint8], seen: Pixels) -> Image.Image:
    """Return the image, mode RGB, in paler colors under the heat: the hotter, the more opaque.

    Args:
        image: as displayed, mode RGB.
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
    """Return the heat alone, mode RGB, gray where the network did not see the image; see `overlay_heat`."""
    left, top, right, bottom = seen
    alone = Image.new("RGB", (levels.shape[1], levels.shape[0]), _NO_HEAT)
    alone.paste(colored(levels[top:bottom, left:right]).convert("RGB"), (left, top))
    return alone


def mark_boxes(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return a copy of the image with outlined boxes, xyxy in its pixels; the first has the hottest color."""
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
    """Return a part of the image, xyxy in its pixels, scaled so that the longer side has `side` pixels."""
    width, height = box[2] - box[0], box[3] - box[1]
    factor = side / max(width, height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return image.resize(size, Image.Resampling.BICUBIC, box=box)


def thumbnail(image: Image.Image) -> str:
    """Return an image as the `data:` URL of a PNG."""
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def level_thumbnail(levels: NDArray[np.uint8]) -> str:
    """Return levels, uint8 (H, W), in heat colors as the `data:` URL of a PNG."""
    return thumbnail(colored(levels))
