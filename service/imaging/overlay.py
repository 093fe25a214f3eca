"""Answers drawn onto pictures, and pictures encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.imaging.geometry import Box
from service.imaging.masks import Mask
from service.imaging.palette import class_colour, ink_on, palette

PictureFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 90
PNG_LEVEL = 1
"""zlib's fastest: on photographs the higher levels cost many times the time for a few per cent of size."""
MASK_OPACITY = 0.55


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A finished picture on its way to a client."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class LabelledBox:
    box: Box
    text: str
    class_id: int


def draw_boxes(picture: Image.Image, boxes: Sequence[LabelledBox]) -> Image.Image:
    """Return the picture with its boxes, line width and letters in proportion to its size; the best lies on top."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    side = min(picture.size)
    width = max(3, round(side / 120))
    font = ImageFont.load_default(size=max(11.0, side / 26))
    for labelled in reversed(boxes):
        colour = class_colour(labelled.class_id)
        left, top, right, bottom = labelled.box
        if right - left >= 1 and bottom - top >= 1:
            rim = max(1, width // 4)  # a light rim keeps a red box visible on a red cup
            halo = (left - rim, top - rim, right + rim, bottom + rim)
            pen.rectangle(halo, outline=(255, 255, 255), width=width + 2 * rim)
            pen.rectangle((left, top, right, bottom), outline=colour, width=width)
    for labelled in reversed(boxes):
        _write_label(pen, labelled, font, width, picture.size)
    return drawn


def _write_label(
    pen: ImageDraw.ImageDraw,
    labelled: LabelledBox,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
    size: tuple[int, int],
) -> None:
    """Write above the box, inside it where there is no room above, and never beyond the picture's edge."""
    left, top, _, _ = labelled.box
    colour = class_colour(labelled.class_id)
    gap = width + 2
    text_left, text_top, text_right, text_bottom = pen.textbbox((0, 0), labelled.text, font=font)
    tab_width, tab_height = text_right - text_left + 2 * gap, text_bottom - text_top + 2 * gap
    x = max(0.0, min(left, size[0] - tab_width))
    y = top - tab_height if top >= tab_height else top
    pen.rectangle((x, y, x + tab_width, y + tab_height), fill=colour)
    pen.text(
        (x + gap - text_left, y + gap - text_top), labelled.text, fill=ink_on(colour), font=font
    )


def draw_mask(picture: Image.Image, ids: Mask) -> Image.Image:
    """Return the picture with every class but 0 laid over it in its colour."""
    pixels = np.asarray(picture)
    opacity = np.where(ids == 0, 0, round(MASK_OPACITY * 256)).astype(np.uint16)[..., None]
    colours = palette()[ids].astype(np.uint16)
    mixed = (pixels * (256 - opacity) + colours * opacity) >> 8
    return Image.fromarray(mixed.astype(np.uint8))


def indexed_mask(ids: Mask) -> Image.Image:
    """Return a palette picture whose index is the class id."""
    image = Image.fromarray(ids).copy()
    image.putpalette(palette().tobytes())
    return image


def cut_out(picture: Image.Image, opacity: Mask) -> Image.Image:
    """Return the picture as RGBA, its alpha the given uint8 (height, width)."""
    result = picture.convert("RGBA")
    result.putalpha(Image.fromarray(opacity))
    return result


def encode_picture(picture: Image.Image, form: PictureFormat) -> EncodedPicture:
    stream = BytesIO()
    if form == "jpeg":
        picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    else:
        picture.save(stream, "PNG", compress_level=PNG_LEVEL)
    return EncodedPicture(stream.getvalue(), f"image/{form}")
