"""Heat maps laid over an image or drawn alone, and small images for JSON."""

import base64
import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.imaging.blocks import Pixels, blocks, overlap
from service.imaging.colormap import colored, heat_colors
from service.imaging.geometry import Box

_STRONG = 0.8
"""Opacity of the hottest color; the coldest one is transparent."""
_GRAYED = 0.5
"""How far the image goes to gray, so that the only strong colors are those of the heat."""
_UNSEEN = 0.6
"""How far the image goes to white where the network did not see it."""
_NO_HEAT = (240, 240, 242)


def overlay_heat(image: Image.Image, levels: NDArray[np.uint8], seen: Pixels) -> Image.Image:
    """Return the image, changed: in paler colors under the heat; the hotter, the more opaque.

    Args:
        image: as displayed, mode RGB.
        levels: uint8 (height, width), 0 cold to 255 hot.
        seen: the part of the image that the network saw, in whole pixels; the rest fades.
    """
    for block in blocks(*image.size):
        left, top, right, bottom = block
        part = image.crop(block)
        shown = _faded(part)
        if (warm := overlap(block, seen)) is not None:
            x0, y0, x1, y1 = (
                value - start for value, start in zip(warm, block[:2] * 2, strict=True)
            )
            heat = _heated(part, levels[top:bottom, left:right])
            shown[y0:y1, x0:x1] = heat[y0:y1, x0:x1]
        image.paste(Image.fromarray(np.rint(shown).astype(np.uint8)), (left, top))
    return image


def _faded(part: Image.Image) -> NDArray[np.float32]:
    return np.asarray(part).astype(np.float32) * (1 - _UNSEEN) + 255 * _UNSEEN


def _heated(part: Image.Image, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = np.asarray(part).astype(np.float32)
    gray = np.asarray(part.convert("L")).astype(np.float32)[..., None]
    quiet = pixels * (1 - _GRAYED) + gray * _GRAYED
    opacity = _STRONG * (levels.astype(np.float32)[..., None] / 255) ** 0.75
    colors = heat_colors()[levels].astype(np.float32)
    mixed: NDArray[np.float32] = (quiet * (1 - opacity) + colors * opacity).astype(np.float32)
    return mixed


def heat_image(levels: NDArray[np.uint8], seen: Pixels) -> Image.Image:
    """Return the heat alone, mode RGB, gray where the network did not see the image; see `overlay_heat`."""
    height, width = levels.shape
    alone = Image.new("RGB", (width, height), _NO_HEAT)
    for block in blocks(width, height):
        if (part := overlap(block, seen)) is not None:
            left, top, right, bottom = part
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
        inner = (*_inset(box[0], box[2]), *_inset(box[1], box[3]))
        pen.rectangle(inner[::2] + inner[1::2], outline=(red, green, blue), width=width)
    return marked


def _inset(begin: float, end: float) -> tuple[float, float]:
    """Return both ends moved in by a pixel; where they would pass each other, their middle."""
    middle = (begin + end) / 2
    return min(begin + 1, middle), max(end - 1, middle)


def crop_image(image: Image.Image, box: Box, side: int = 224) -> Image.Image:
    """Return a part of the image, xyxy in its pixels, scaled so that the longer side has `side` pixels.

    A box that lies beyond the image, or has no area, as rounding makes them far from the origin, becomes a pixel of it.
    """
    columns, left, right = _part(box[0], box[2], image.width)
    rows, top, bottom = _part(box[1], box[3], image.height)
    width, height = right - left, bottom - top
    factor = side / max(width, height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    whole = columns == (0, image.width) and rows == (0, image.height)
    pixels = image if whole else image.crop((columns[0], rows[0], columns[1], rows[1]))
    return pixels.resize(
        size, Image.Resampling.BICUBIC, box=(left, top, right, bottom), reducing_gap=3.0
    )


def _part(begin: float, end: float, length: int) -> tuple[tuple[int, int], float, float]:
    """Return the whole pixels around a stretch of a line of so many, and the stretch's ends within these.

    Pillow keeps a box as 32-bit numbers, which tell pixels apart only near the origin.
    """
    begin, end = max(0.0, begin), min(float(length), end)
    if end <= begin:
        begin = float(min(length - 1, max(0, math.floor(begin))))
        end = begin + 1
    first, last = math.floor(begin), math.ceil(end)
    return (first, last), begin - first, end - first


def thumbnail(image: Image.Image) -> str:
    """Return an image as the `data:` URL of a PNG."""
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def level_thumbnail(levels: NDArray[np.uint8]) -> str:
    """Return levels, uint8 (H, W), in heat colors as the `data:` URL of a PNG."""
    return thumbnail(colored(levels))
