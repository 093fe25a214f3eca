"""Preprocessing as frameworks do it, written independently of the service's: the truth about the pixel values.

Only one rule is shared: how an image that is no plain RGB or gray with 8 bits becomes that. Frameworks have no rule of
their own for it, Pillow drops the alpha and clips 16 bits, and the proof is about the network.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from exporter.preprocess import LUMA
from exporter.recipe import Pixels
from service.card import ImageInput, Interpolation
from service.imaging.decode import Limits
from service.imaging.geometry import Geometry
from service.imaging.source_image import SourceImage

PLAIN_FORMATS = {"JPEG", "PNG", "WEBP", "BMP"}
"""What Pillow reads as every tool does. A TIFF may have 16 or 32 bits that Pillow shows as mode RGB or L."""

NO_EXIF = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Where Pillow also looks for an orientation, but browsers and the service do not."""

_RESAMPLING = {
    name: Image.Resampling[name.upper()]
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}
"""Those that Pillow's resize has; `linear` is computed here."""


def decode(body: bytes) -> Image.Image:
    """Return the encoded image at full size, upright by its EXIF orientation, in RGB.

    Raises:
        ImageError: the service does not read the image.
    """
    plain = _plain(body)
    if plain is None:
        # The geometry is where a frame lies; the image as displayed does not depend on it.
        whole = Geometry(1, 1, (0.0, 0.0, 1.0, 1.0), (0, 0, 1, 1))
        return SourceImage(body, whole, Limits()).displayed()
    for name in NO_EXIF:
        plain.info.pop(name, None)
    return ImageOps.exif_transpose(plain).convert("RGB")


def _plain(body: bytes) -> Image.Image | None:
    """Return an undamaged image of one frame in RGB or gray with 8 bits and without alpha; None for every other."""
    try:
        image = Image.open(BytesIO(body))
        image.load()
    except (OSError, SyntaxError, ValueError):
        return None
    plain = (
        image.format in PLAIN_FORMATS
        and image.mode in {"RGB", "L"}
        and "transparency" not in image.info
        and getattr(image, "n_frames", 1) == 1
    )
    return image if plain else None


def fit(image: Image.Image, target: ImageInput) -> Image.Image:
    """Resize the whole image, then crop or pad it, as torchvision's Resize and CenterCrop or a letterbox do."""
    how = target.interpolation
    if target.resize == "stretch":
        return _resized(image, (target.width, target.height), how)
    if target.resize == "letterbox":
        return _letterbox(image, target)
    side = target.shorter_side or min(target.width, target.height)
    short = min(image.size)
    width, height = (side if edge == short else int(side * edge / short) for edge in image.size)
    resized = _resized(image, (width, height), how)
    left, top = round((width - target.width) / 2), round((height - target.height) / 2)
    return resized.crop((left, top, left + target.width, top + target.height))


def pixel_values(frames: NDArray[np.uint8], pixels: Pixels) -> NDArray[np.float32]:
    """Return the values that the network reads in place of the frames' pixels.

    Args:
        frames: uint8 (N, H, W, 3), RGB.
        pixels: scale, mean, std, order of the channels and layout.

    Returns:
        float32 (N, C, H, W) or (N, H, W, C).
    """
    values = frames.astype(np.float64)
    if pixels.color == "gray":
        values = (values * LUMA).sum(axis=3, keepdims=True)
    if pixels.color == "bgr":
        values = values[..., ::-1]
    mean, std = pixels.mean[: pixels.channels], pixels.std[: pixels.channels]
    values = (values * pixels.scale - mean) / std
    if pixels.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    contiguous: NDArray[np.float32] = np.ascontiguousarray(values, np.float32)
    return contiguous


def plain_transform(target: ImageInput, pixels: Pixels) -> Callable[[bytes], NDArray[np.float32]]:
    """Return the preprocessing that an image input and its pixels describe, from encoded bytes to pixel values."""

    def transform(body: bytes) -> NDArray[np.float32]:
        frame = np.asarray(fit(decode(body), target))
        values: NDArray[np.float32] = pixel_values(frame[None], pixels)[0]
        return values

    return transform


def _letterbox(image: Image.Image, target: ImageInput) -> Image.Image:
    scale = min(target.width / image.width, target.height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    frame = Image.new("RGB", (target.width, target.height), target.pad_color)
    at = ((target.width - size[0]) // 2, (target.height - size[1]) // 2)
    if target.placement == "corner":
        at = (0, 0)
    frame.paste(_resized(image, size, target.interpolation), at)
    return frame


def _resized(image: Image.Image, size: tuple[int, int], how: Interpolation) -> Image.Image:
    return _linear(image, size) if how == "linear" else image.resize(size, _RESAMPLING[how])


def _linear(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize by bilinear interpolation without antialiasing, as cv2.INTER_LINEAR does.

    The pixels of both images lie at half-pixel centers, as with PyTorch's `align_corners=False`.
    """
    values: NDArray[Any] = np.asarray(image)
    for axis, count in enumerate(reversed(size)):
        length = values.shape[axis]
        places = ((np.arange(count) + 0.5) * (length / count) - 0.5).clip(0, length - 1)
        near = places.astype(np.intp)
        share = np.expand_dims(places - near, tuple({0, 1, 2} - {axis}))
        far = (near + 1).clip(max=length - 1)
        values = values.take(near, axis) * (1 - share) + values.take(far, axis) * share
    return Image.fromarray((values + 0.5).astype(np.uint8))
