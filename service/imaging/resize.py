"""An image → the network's frame; only the needed pixels are decoded and resized."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import ImageInput
from service.imaging.deadline import GoOn, without_end
from service.imaging.decode import Limits, OpenedImage, open_image, orientation, read_pixels
from service.imaging.geometry import Box, Geometry, plan
from service.imaging.resampling import SAMPLING, by_pillow, resample
from service.imaging.source_image import upright

DRAFT_OVERSAMPLING = 2
"""A JPEG at a reduced scale is at least this many times as large as needed: 1 shows artifacts (Pillow PR 1029)."""

LONGEST_SIDE = 1 << 20
"""Pixels of a side that are resized in one pass: Pillow keeps up to six float64 weights for each."""
LARGEST_PASS = 1 << 24
"""Pixels between the two passes of a resize: all rows of the image, each as wide as the frame."""
REDUCING_GAP = 3.0
"""A longer side is first reduced by whole pixels, to at least this many times the frame's (Pillow: `reducing_gap`)."""

_Transpose = Image.Transpose

_STORED_BOX: dict[Image.Transpose, Callable[[Box, int, int], Box]] = {
    _Transpose.FLIP_LEFT_RIGHT: lambda b, w, _: (w - b[2], b[1], w - b[0], b[3]),
    _Transpose.ROTATE_180: lambda b, w, h: (w - b[2], h - b[3], w - b[0], h - b[1]),
    _Transpose.FLIP_TOP_BOTTOM: lambda b, _, h: (b[0], h - b[3], b[2], h - b[1]),
    _Transpose.TRANSPOSE: lambda b, _w, _h: (b[1], b[0], b[3], b[2]),
    _Transpose.ROTATE_270: lambda b, w, _: (b[1], w - b[2], b[3], w - b[0]),
    _Transpose.TRANSVERSE: lambda b, w, h: (h - b[3], w - b[2], h - b[1], w - b[0]),
    _Transpose.ROTATE_90: lambda b, _, h: (h - b[3], b[0], h - b[1], b[2]),
}
"""A box on the displayed image, and that image's width and height → the same box on the stored image."""

_SWAPS_SIDES = {
    _Transpose.TRANSPOSE,
    _Transpose.ROTATE_270,
    _Transpose.TRANSVERSE,
    _Transpose.ROTATE_90,
}


def fit_encoded(
    body: bytes, target: ImageInput, limits: Limits
) -> tuple[NDArray[np.uint8], Geometry]:
    """Return the network's frame and its place on the displayed image.

    The result is that of decoding all pixels, applying the EXIF orientation, resizing with Pillow, and cropping or
    padding. To be faster, only the kept region is resized, the orientation is applied to the small frame, and a JPEG
    much larger than needed is decoded at a reduced DCT scale, unless the interpolation skips pixels.

    Args:
        body: an encoded image.
        target: the frame that the network wants.
        limits: the limits of an image.

    Returns:
        uint8 (H, W, 3) RGB, and the geometry.

    Raises:
        ImageError: the image can not be read; see `decode`.
    """
    return fit_opened(open_image(body, limits), target)


def fit_opened(
    image: OpenedImage, target: ImageInput, go_on: GoOn = without_end
) -> tuple[NDArray[np.uint8], Geometry]:
    """Return the same for an image whose header has been read; `go_on` is called between the parts of the work.

    Raises:
        ImageError: its pixels can not be read; see `decode`.
    """
    frame, geometry, _ = _fit(image, orientation(image), target, go_on)
    return frame, geometry


def fit_and_keep(
    image: OpenedImage, target: ImageInput
) -> tuple[NDArray[np.uint8], Geometry, Image.Image | None]:
    """Return the same, and the whole image as displayed, mode RGB; None where only a reduced one was decoded.

    Raises:
        ImageError: its pixels can not be read; see `decode`.
    """
    turn = orientation(image)
    frame, geometry, pixels = _fit(image, turn, target)
    return frame, geometry, None if pixels is None else upright(pixels, turn)


def fit_image(image: Image.Image, target: ImageInput) -> tuple[NDArray[np.uint8], Geometry]:
    """Return the same for an image that is decoded and upright already, such as a frame of a video.

    Args:
        image: mode RGB.
        target: the frame that the network wants.

    Returns:
        uint8 (H, W, 3) RGB, and the geometry.
    """
    frame, geometry, _ = _fit(image, None, target)
    return frame, geometry


def _fit(
    image: Image.Image | OpenedImage,
    turn: Image.Transpose | None,
    target: ImageInput,
    go_on: GoOn = without_end,
) -> tuple[NDArray[np.uint8], Geometry, Image.Image | None]:
    """Return the frame, the geometry, and the stored pixels; None where they were decoded at a reduced scale."""
    width, height = image.size[::-1] if turn in _SWAPS_SIDES else image.size
    geometry = plan(width, height, target)

    box, frame_size = _visible(geometry)
    if turn is not None:
        box = _STORED_BOX[turn](box, width, height)
        frame_size = frame_size[::-1] if turn in _SWAPS_SIDES else frame_size
    skips = target.interpolation in SAMPLING
    pixels, reduction = _decoded(image, box, frame_size, go_on, whole=skips)
    box = _inside(
        (box[0] / reduction, box[1] / reduction, box[2] / reduction, box[3] / reduction), pixels
    )

    if _is_extreme(box, frame_size) and not skips:
        frame = by_pillow(pixels, frame_size, target.interpolation, box, REDUCING_GAP)
    else:
        frame = resample(pixels, frame_size, target.interpolation, box)
    if turn is not None:
        frame = frame.transpose(turn)
    if frame.mode != "RGB":
        frame = frame.convert("RGB")
    whole = pixels if reduction == 1 else None
    return _on_paper(np.asarray(frame), geometry, target), geometry, whole


def _is_extreme(box: Box, frame_size: tuple[int, int]) -> bool:
    """Return whether the image has a form, such as a line of pixels, whose resize in one step takes gigabytes."""
    across, down = box[2] - box[0], box[3] - box[1]
    return max(across, down) > LONGEST_SIDE or frame_size[0] * down > LARGEST_PASS


def _visible(geometry: Geometry) -> tuple[Box, tuple[int, int]]:
    """Return the part of the image that the frame shows, and its size in the frame."""
    left, top, right, bottom = geometry.region
    x0, y0, x1, y1 = geometry.content
    box = (max(left, 0.0), max(top, 0.0), min(right, geometry.width), min(bottom, geometry.height))
    return box, (x1 - x0, y1 - y0)


def _decoded(
    image: Image.Image | OpenedImage,
    box: Box,
    frame_size: tuple[int, int],
    go_on: GoOn,
    *,
    whole: bool,
) -> tuple[Image.Image, int]:
    """Return the pixels, a JPEG's at the smallest sufficient DCT scale, and the reduction: 1, 2, 4 or 8.

    With `whole` it is 1, since a reduced scale averages the pixels that an interpolation would skip.

    A reduced pixel covers exactly `reduction`² stored ones, also where the image's edge cuts the last of a row, so a
    division alone carries a box over.
    """
    if isinstance(image, Image.Image):
        return image, 1
    if whole or not image.can_be_reduced:
        return read_pixels(image, go_on), 1
    across = (box[2] - box[0]) / (frame_size[0] * DRAFT_OVERSAMPLING)
    down = (box[3] - box[1]) / (frame_size[1] * DRAFT_OVERSAMPLING)
    wanted = next((scale for scale in (8, 4, 2) if min(across, down) >= scale), 1)
    reduction = image.reduce(wanted) if wanted > 1 else 1
    return read_pixels(image, go_on), reduction


def _inside(box: Box, pixels: Image.Image) -> Box:
    """Return the box clipped to the image: Pillow refuses a box that is outside by a rounding error."""
    return (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[2], pixels.width),
        min(box[3], pixels.height),
    )


def _on_paper(
    content: NDArray[np.uint8], geometry: Geometry, target: ImageInput
) -> NDArray[np.uint8]:
    if content.shape[:2] == (target.height, target.width):
        return content
    x0, y0, x1, y1 = geometry.content
    frame = np.empty((target.height, target.width, 3), np.uint8)
    frame[:] = target.pad_color
    frame[y0:y1, x0:x1] = content
    return frame
