"""Bytes → an opened image: its format, size and orientation; then its pixels as RGB."""

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import (
    BrokenImageError,
    EmptyImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)

FORMATS = tuple(
    reader.format
    for reader in (
        JpegImageFile,
        PngImageFile,
        WebPImageFile,
        GifImageFile,
        BmpImageFile,
        TiffImageFile,
        AvifImageFile,
    )
)
"""The formats that are read; of an animated image the first frame is used. AVIF needs a Pillow built with it."""

ORIENTATION_TAG = 0x0112
TRANSPOSITIONS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the transposition from the stored image to the displayed one (TIFF 6.0, tag 274)."""

_ORIENTATION_SOURCES = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
"""The keys of an image's info where Pillow searches for an orientation; a search without any takes it tens of µs."""

_PILLOW_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    struct.error,
)
"""What Pillow's readers raise on damaged files."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one image.

    `max_pixels` counts the pixels of the stored image, by its header, before any pixel is decoded.
    """

    max_pixels: int = 64_000_000


def open_image(body: bytes, limits: Limits) -> Image.Image:
    """Return the image with its header read and no pixel decoded.

    Raises:
        EmptyImageError: no bytes.
        UnsupportedImageError: the bytes are of no known format.
        BrokenImageError: the format is known, the header is damaged.
        TooManyPixelsError: more pixels than `limits` allow.
    """
    if not body:
        raise EmptyImageError(
            "The image has no bytes. Send the file itself, e.g. curl --data-binary @cat.jpg"
        )
    try:
        image = Image.open(BytesIO(body), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except UnidentifiedImageError as error:
        raise UnsupportedImageError(
            "The bytes are no image that is understood. Send JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF."
        ) from error
    except _PILLOW_FAULTS as error:
        raise BrokenImageError(f"The image's header is damaged: {error}") from error
    if image.width * image.height > limits.max_pixels:
        raise _too_many_pixels(limits, image.size)
    return image


def orientation(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition from the stored image to the displayed one, None where they are the same."""
    try:
        if image.format == "PNG":
            image.load()  # its EXIF may follow its pixels
        if image.format == "TIFF" or image.info.keys().isdisjoint(_ORIENTATION_SOURCES):
            return None  # Pillow itself applies the orientation of a TIFF
        return TRANSPOSITIONS.get(image.getexif().get(ORIENTATION_TAG, 1))
    except _PILLOW_FAULTS:
        return None  # a damaged EXIF block: the pixels may still be good


def read_pixels(image: Image.Image) -> Image.Image:
    """Return the stored image's pixels in mode RGB, or L where every pixel is gray.

    Alpha is composited over white. Sixteen-bit gray is scaled to 8 bits. Color profiles are not applied, because the
    training pipelines of these networks do not apply them.

    Raises:
        BrokenImageError: the pixels are damaged or cut short.
    """
    try:
        image.load()
        return _flatten(image)
    except Image.DecompressionBombError as error:
        raise BrokenImageError("The image holds more pixels than its header says") from error
    except _PILLOW_FAULTS as error:
        raise BrokenImageError(f"The image is damaged or cut short: {error}") from error


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in {"RGB", "L"}:
        if "transparency" not in image.info:
            return image
        return _over_white(image.convert("RGBA"))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_gray(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _deep_gray(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float gray to 8 bits, from the range that the values fit: 0–255, 0–65535 or 0–1."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = values.max(initial=0)
    if image.mode.startswith("I;16") or (image.mode == "I" and top > 255):
        values = values / 257
    elif image.mode == "F" and top <= 1:
        values = values * 255
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _too_many_pixels(limits: Limits, size: tuple[int, int] | None = None) -> TooManyPixelsError:
    found = f"{size[0]}×{size[1]} pixels are" if size else "Its pixels are"
    allowed = f"{limits.max_pixels / 1e6:g} million"
    return TooManyPixelsError(f"{found} more than the {allowed} allowed. Send a smaller image.")
