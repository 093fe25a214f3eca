"""Answers drawn onto images, and images encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.imaging.geometry import Box
from service.imaging.masks import Mask
from service.imaging.palette import class_color, ink_on, palette

ImageFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 90
PNG_LEVEL = 1
"""zlib's fastest: on photographs the higher levels cost many times the time for a few per cent of size."""
MASK_OPACITY = 0.55


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A finished image on its way to a client."""

    content: bytes
    media_type: str
    shape: tuple[int, ...] = ()
    """Of an array, where the bytes are one."""


@dataclass(frozen=True, slots=True)
class LabeledBox:
    box: Box
    text: str
    class_id: int


def draw_boxes(image: Image.Image, boxes: Sequence[LabeledBox]) -> Image.Image:
    """Return the image with its boxes, line width and letters in proportion to its size; the best lies on top."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    side = min(image.size)
    width = max(3, round(side / 120))
    font = ImageFont.load_default(size=max(11.0, side / 26))
    for labeled in reversed(boxes):
        color = class_color(labeled.class_id)
        left, top, right, bottom = labeled.box
        if right - left >= 1 and bottom - top >= 1:
            rim = max(1, width // 4)  # a light rim keeps a red box visible on a red cup
            halo = (left - rim, top - rim, right + rim, bottom + rim)
            pen.rectangle(halo, outline=(255, 255, 255), width=width + 2 * rim)
            pen.rectangle((left, top, right, bottom), outline=color, width=width)
    for labeled in reversed(boxes):
        _write_label(pen, labeled, font, width, image.size)
    return drawn


def _write_label(
    pen: ImageDraw.ImageDraw,
    labeled: LabeledBox,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
    size: tuple[int, int],
) -> None:
    """Write above the box, inside it where there is no room above, and never beyond the image's edge."""
    left, top, _, _ = labeled.box
    color = class_color(labeled.class_id)
    gap = width + 2
    text_left, text_top, text_right, text_bottom = pen.textbbox((0, 0), labeled.text, font=font)
    tab_width, tab_height = text_right - text_left + 2 * gap, text_bottom - text_top + 2 * gap
    x = max(0.0, min(left, size[0] - tab_width))
    y = top - tab_height if top >= tab_height else top
    pen.rectangle((x, y, x + tab_width, y + tab_height), fill=color)
    pen.text((x + gap - text_left, y + gap - text_top), labeled.text, fill=ink_on(color), font=font)


def draw_mask(image: Image.Image, ids: Mask) -> Image.Image:
    """Return the image with every class but 0 laid over it in its color."""
    pixels = np.asarray(image)
    opacity = np.where(ids == 0, 0, round(MASK_OPACITY * 256)).astype(np.uint16)[..., None]
    colors = palette()[ids].astype(np.uint16)
    mixed = (pixels * (256 - opacity) + colors * opacity) >> 8
    return Image.fromarray(mixed.astype(np.uint8))


def indexed_mask(ids: Mask) -> Image.Image:
    """Return a palette image whose index is the class id."""
    image = Image.fromarray(ids).copy()
    image.putpalette(palette().tobytes())
    return image


def cut_out(image: Image.Image, opacity: Mask) -> Image.Image:
    """Return the image as RGBA, its alpha the given uint8 (height, width)."""
    result = image.convert("RGBA")
    result.putalpha(Image.fromarray(opacity))
    return result


def encode_image(image: Image.Image, form: ImageFormat) -> RenderedImage:
    stream = BytesIO()
    if form == "jpeg":
        image.save(stream, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(stream, "PNG", compress_level=PNG_LEVEL)
    return RenderedImage(stream.getvalue(), f"image/{form}")
