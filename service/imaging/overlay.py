"""Results drawn on images, and images encoded."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.errors import InvalidParameterError, TooManyPixelsError
from service.imaging.blocks import blocks
from service.imaging.geometry import Box
from service.imaging.masks import ImageMask, Mask
from service.imaging.palette import BLACK, WHITE, class_color, class_colors, ink_on
from service.spans import span

ImageFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 90
JPEG_LONGEST_SIDE = 65_500
"""libjpeg's limit."""
PNG_LEVEL = 1
"""zlib's fastest level: on photographs, higher levels take many times as long and save a few per cent of the size."""
MOST_PNG_PIXELS = 24_000_000
"""Of a drawn image in colors: as a PNG a photograph takes 0.06 s of CPU time for each million, and noise 0.08 s."""
PNG_STRATEGY = zlib.Z_RLE
"""Of images in colors: the playground's photographs take 0.86 to 0.90 of the time of zlib's default, and 0.92 to 1.05
of its bytes; noise takes 0.7 of the time."""
MASK_OPACITY = 0.55
MASK_IDS = 256
_OPAQUE = 256
_OPACITY = round(MASK_OPACITY * _OPAQUE)


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """An encoded image, or other encoded result, and its media type."""

    content: bytes = field(repr=False)
    media_type: str
    shape: tuple[int, ...] = ()
    """Of an array, where the bytes are one."""


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """A box to draw, xyxy in pixels of the image; `class_id` chooses its color."""

    box: Box
    text: str
    class_id: int


def draw_boxes(image: Image.Image, boxes: Sequence[LabeledBox]) -> Image.Image:
    """Return the image, changed: boxes and their labels are drawn on it.

    Line width and font size are in proportion to the image's size. A box without area is drawn as its label only.

    Args:
        image: mode RGB.
        boxes: the first is drawn on top.
    """
    pen = ImageDraw.Draw(image)
    side = min(image.size)
    width = max(3, round(side / 120))
    font = ImageFont.load_default(size=max(11.0, side / 26))
    for labeled in reversed(boxes):
        color = class_color(labeled.class_id)
        left, top, right, bottom = labeled.box
        if right - left >= 1 and bottom - top >= 1:
            rim = max(1, width // 4)  # a white rim keeps a red box visible on a red cup
            halo = (left - rim, top - rim, right + rim, bottom + rim)
            pen.rectangle(halo, outline=WHITE, width=width + 2 * rim)
            pen.rectangle((left, top, right, bottom), outline=color, width=width)
    for labeled in reversed(boxes):
        _write_label(pen, labeled, font, width, image.size)
    return image


def _write_label(
    pen: ImageDraw.ImageDraw,
    labeled: LabeledBox,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
    size: tuple[int, int],
) -> None:
    """Write the label above the box, or inside it where there is no room above; never beyond the image's edge."""
    left, top, _, _ = labeled.box
    color = class_color(labeled.class_id)
    gap = width + 2
    text_left, text_top, text_right, text_bottom = pen.textbbox((0, 0), labeled.text, font=font)
    tab_width, tab_height = text_right - text_left + 2 * gap, text_bottom - text_top + 2 * gap
    x = max(0.0, min(left, size[0] - tab_width))
    y = top - tab_height if top >= tab_height else top
    pen.rectangle((x, y, x + tab_width, y + tab_height), fill=color)
    pen.text((x + gap - text_left, y + gap - text_top), labeled.text, fill=ink_on(color), font=font)


def draw_mask(image: Image.Image, mask: ImageMask, background_id: int | None) -> Image.Image:
    """Return the image, changed: every class is laid over it in its color; other pixels stay as they are.

    Args:
        image: mode RGB, of the mask's size.
        mask: the classes.
        background_id: the class that is not drawn; None draws every class.
    """
    palette = class_colors().tobytes()
    for block in blocks(*image.size):
        left, top, right, bottom = block
        part = (slice(top, bottom), slice(left, right))
        ids, covered = mask.ids[part], mask.seen[part]
        if background_id is not None:
            covered = covered & (ids != background_id)
        mixed = np.asarray(image.crop(block)).astype(np.uint16)
        mixed *= _OPAQUE - _OPACITY
        mixed += _weighted_colors(ids, palette)
        mixed >>= 8
        where = Image.fromarray(covered.view(np.uint8) * np.uint8(255))
        image.paste(Image.fromarray(mixed.astype(np.uint8)), block, where)
    return image


def _weighted_colors(ids: Mask, palette: bytes) -> NDArray[np.uint16]:
    """Return the color of each id times the opacity, (H, W, 3); Pillow looks colors up faster than NumPy."""
    shades = Image.fromarray(np.ascontiguousarray(ids))
    shades.putpalette(palette)
    colors = np.asarray(shades.convert("RGB")).astype(np.uint16)
    colors *= _OPACITY
    return colors


def indexed_mask(mask: ImageMask, background_id: int | None, classes: int) -> Image.Image:
    """Return a palette image, mode P, whose index is the class id.

    The background is black. A pixel that the network did not see has the index of the background; without a background
    it has index 255, drawn white, where 255 is no class, else index 0.

    Args:
        mask: the classes.
        background_id: None if no class is background.
        classes: how many classes there are.
    """
    colors = class_colors().copy()
    unseen = 0
    if background_id is not None:
        unseen = background_id
        colors[unseen] = BLACK
    elif classes < MASK_IDS:
        unseen = MASK_IDS - 1
        colors[unseen] = WHITE
    image = Image.fromarray(mask.indices(unseen))
    image.putpalette(colors.tobytes())
    return image


def cut_out(image: Image.Image, opacity: Mask) -> Image.Image:
    """Return the image as RGBA with the given alpha, uint8 (height, width)."""
    result = image.convert("RGBA")
    result.putalpha(Image.fromarray(opacity))
    return result


def require_png(pixels: int) -> None:
    """Refuse a drawn image in colors that would take too long to write as a PNG, before the network runs.

    Raises:
        TooManyPixelsError
    """
    if pixels > MOST_PNG_PIXELS:
        raise TooManyPixelsError(
            f"A PNG of {pixels} pixels is more than the {MOST_PNG_PIXELS / 1e6:g} million that are drawn in colors. "
            "Send a smaller image, or ask for a JPEG with Accept: image/jpeg where the format has one."
        )


def encode_image(image: Image.Image, form: ImageFormat) -> RenderedImage:
    """Return the image as a PNG or a JPEG.

    Raises:
        InvalidParameterError: a side is too long for a JPEG.
    """
    if form == "jpeg" and max(image.size) > JPEG_LONGEST_SIDE:
        raise InvalidParameterError(
            f"A JPEG has at most {JPEG_LONGEST_SIDE} pixels on a side, and this has {image.width}×{image.height}. "
            "Ask for a PNG with Accept: image/png"
        )
    stream = BytesIO()
    with span("encode", {"foveal.format": form}):
        if form == "jpeg":
            image.save(stream, "JPEG", quality=JPEG_QUALITY)
        else:
            strategy = zlib.Z_DEFAULT_STRATEGY if image.mode in {"P", "L", "1"} else PNG_STRATEGY
            image.save(stream, "PNG", compress_level=PNG_LEVEL, compress_type=strategy)
    return RenderedImage(stream.getvalue(), f"image/{form}")
