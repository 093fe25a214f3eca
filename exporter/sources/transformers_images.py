"""What an image processor of Transformers does to an image → an image input, pixel values, and the processor itself.

The numbers come from the processor's fields. They are then compared with what it computes, since some processors do
more than their fields say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exporter.errors import SourceError
from exporter.recipe import Pixels
from exporter.sources.transformers_modules import Processor
from exporter.transforms import decode, pixel_values
from service.card import ImageInput, Interpolation

Size = tuple[int, int]
"""Height and width, in pixels."""

_INTERPOLATIONS: dict[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
"""Pillow's numbers, which Transformers keeps in `resample`."""

_SAME = 1e-4
"""How much the values that a processor computes may differ from those by scale, mean and std."""

_WARPED_FROM = 384
"""From this side on, ConvNeXT's processor stretches and does not crop."""

_ONE_SIZE = {
    "do_pad": False,
    "keep_aspect_ratio": False,
    "ensure_multiple_of": 1,
    "size_divisor": 1,
}
"""With these a processor stretches an image to the height and width that it is given."""

_TRIED = ((48, 32), (32, 48))
"""Widths and heights, in pixels, of two images that a processor of one size makes equally large."""

_WITHOUT_GEOMETRY = {"do_resize": False, "do_center_crop": False, "do_pad": False}


@dataclass(frozen=True, slots=True)
class ProcessedImages:
    """How a network's images are made.

    `transform` is the processor itself from encoded bytes to pixel values, None where its way to the input size is
    none of Foveal's; `note` then says what is done instead.
    """

    image_input: ImageInput
    pixels: Pixels
    transform: Callable[[bytes], NDArray[np.float32]] | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Fitted:
    image_input: ImageInput
    note: str = ""
    size_of_its_own: bool = True


def processed_images(processor: Processor, stated: Size | None = None) -> ProcessedImages:
    """Return what the processor does.

    Args:
        processor: of the network.
        stated: the recipe's input size, for a processor that has none.

    Raises:
        SourceError: it computes values that no scale, mean and std describe, or has no input size.
    """
    fitted = _fitted(processor, stated)
    pixels = _pixels(processor, fitted.image_input)
    transform = _transform(processor, fitted)
    note = fitted.note
    if transform is None and not note:
        target = fitted.image_input
        note = (
            f"The image processor {type(processor).__name__} does not make {target.height}×{target.width} of every "
            f"image. Images are fitted to it by Foveal: {target.words}. --height, --width and --resize set another way"
        )
    return ProcessedImages(fitted.image_input, pixels, transform, note)


def _fitted(processor: Processor, stated: Size | None) -> _Fitted:
    name = type(processor).__name__
    size = _size(processor, "size") if getattr(processor, "do_resize", True) else {}
    crop = _size(processor, "crop_size") if getattr(processor, "do_center_crop", False) else {}
    shorter = _shorter_side(processor, name, size)
    if name.startswith("ConvNext") and shorter is not None:
        edge = size["shortest_edge"]
        if edge >= _WARPED_FROM:
            return _Fitted(_stretched(processor, edge, edge))
        return _Fitted(_cropped(processor, edge, edge, shorter))
    if crop:
        return _fitted_by_crop(processor, size, crop, shorter)
    if {"height", "width"} <= size.keys() and not getattr(processor, "keep_aspect_ratio", False):
        return _Fitted(_stretched(processor, *_made_size(processor, size)))
    return _one_size(processor, size, stated)


def _made_size(processor: Processor, size: dict[str, int]) -> Size:
    """Return the size of all images that a processor makes, which may be a multiple near the stated one."""
    made = {_run(processor, Image.new("RGB", tried), {}).shape[1:] for tried in _TRIED}
    if len(made) > 1:
        return size["height"], size["width"]
    height, width = made.pop()
    return height, width


def _fitted_by_crop(
    processor: Processor,
    size: dict[str, int],
    crop: dict[str, int],
    shorter: int | None,
) -> _Fitted:
    height, width = crop["height"], crop["width"]
    if shorter is None and (size.get("height"), size.get("width")) == (height, width):
        return _Fitted(_stretched(processor, height, width))
    if shorter is not None and shorter >= max(height, width):
        return _Fitted(_cropped(processor, height, width, shorter))
    side = max(shorter or min(size.values(), default=0), height, width)
    note = (
        f"The image processor {_before_crop(size, shorter)} before it takes the center {height}×{width}. Foveal "
        f"resizes the shorter side to {side}, and then takes the center"
    )
    return _Fitted(_cropped(processor, height, width, side), note, size_of_its_own=False)


def _before_crop(size: dict[str, int], shorter: int | None) -> str:
    """Return in words how a processor resizes images before it crops them."""
    if shorter is not None:
        return f"resizes the shorter side to {shorter} and pads with black"
    if {"height", "width"} <= size.keys():
        return f"stretches images to {size['height']}×{size['width']}"
    stated = ", ".join(f"{name} {value}" for name, value in sorted(size.items()))
    return f"resizes images to {stated}" if size else "does not resize images"


def _one_size(processor: Processor, size: dict[str, int], stated: Size | None) -> _Fitted:
    """Return a stretch to one size for a processor whose size depends on the image."""
    edge = size.get("shortest_edge") or size.get("longest_edge")
    height, width = (
        size.get(name) or size.get(f"max_{name}") or edge for name in ("height", "width")
    )
    step = getattr(processor, "ensure_multiple_of", None) or 1
    height, width = (side and max(step, round(side / step) * step) for side in (height, width))
    if (not height or not width) and stated is not None:
        note = (
            "The image processor keeps the size of an image; a servable has one size. Images are resized to "
            f"{stated[0]}×{stated[1]}, as --height and --width state"
        )
        return _Fitted(_stretched(processor, *stated), note, size_of_its_own=False)
    if not height or not width:
        raise SourceError(
            f"The image processor {type(processor).__name__} states no input size. Give --height and --width"
        )
    edges = ", ".join(f"{name} {value}" for name, value in size.items())
    note = (
        f"The image processor's size depends on the image ({edges}); a servable has one size. Images are stretched to "
        f"{height}×{width}. --height, --width and --resize set another"
    )
    return _Fitted(_stretched(processor, height, width), note)


def _shorter_side(processor: Processor, name: str, size: dict[str, int]) -> int | None:
    """Return the length to which the shorter side is resized, None where the aspect is not kept."""
    edge = size.get("shortest_edge")
    share = getattr(processor, "crop_pct", None)
    if name.startswith("PoolFormer") and share:
        if edge is None and size.get("height") != size.get("width"):
            return None
        return int((edge or size["height"]) / share)
    if edge is None or size.get("longest_edge"):
        return None
    if name.startswith("ConvNext") and share:
        return int(edge / share)
    return int(256 / 224 * edge) if name.startswith("Levit") else edge


def _size(processor: Processor, field: str) -> dict[str, int]:
    """Return a processor's size by its names; older ones are one number."""
    value = getattr(processor, field, None)
    if value is None:
        return {}
    if isinstance(value, int):
        return {"height": value, "width": value}
    return {name: int(number) for name, number in dict(value).items() if number}


def _stretched(processor: Processor, height: int, width: int) -> ImageInput:
    how = _interpolation(processor)
    return ImageInput(height=height, width=width, resize="stretch", interpolation=how)


def _cropped(processor: Processor, height: int, width: int, side: int) -> ImageInput:
    how = _interpolation(processor)
    return ImageInput(
        height=height, width=width, resize="crop", shorter_side=side, interpolation=how
    )


def _interpolation(processor: Processor) -> Interpolation:
    resample = getattr(processor, "resample", None)
    number = 2 if resample is None else int(resample)
    if number not in _INTERPOLATIONS:
        known = ", ".join(f"{one} ({name})" for one, name in _INTERPOLATIONS.items())
        raise SourceError(
            f"The image processor {type(processor).__name__} resizes with Pillow's filter {number}, which Foveal does "
            f"not have. Set resample in preprocessor_config.json to one of {known}"
        )
    return _INTERPOLATIONS[number]


def _pixels(processor: Processor, image_input: ImageInput) -> Pixels:
    noise = np.random.default_rng(0).integers(
        0, 256, (1, image_input.height, image_input.width, 3), np.uint8
    )
    found = _run(processor, Image.fromarray(noise[0]), _WITHOUT_GEOMETRY)
    for pixels in (_stated_pixels(processor), _measured_pixels(processor, image_input)):
        expected = pixel_values(noise, pixels)[0]
        if found.shape == expected.shape and np.abs(found - expected).max() <= _SAME:
            return pixels
    raise SourceError(
        f"The image processor {type(processor).__name__} does more to a pixel than scale, mean and std describe. "
        "Put that into the forward of a module of your own, and export it as python:package.module:callable"
    )


def _stated_pixels(processor: Processor) -> Pixels:
    normalized = getattr(processor, "do_normalize", False)
    flipped = getattr(processor, "do_flip_channel_order", False)
    return Pixels(
        scale=processor.rescale_factor if getattr(processor, "do_rescale", False) else 1.0,
        mean=_three(processor.image_mean) if normalized else (0.0, 0.0, 0.0),
        std=_three(processor.image_std) if normalized else (1.0, 1.0, 1.0),
        color="bgr" if flipped else "rgb",
    )


def _measured_pixels(processor: Processor, image_input: ImageInput) -> Pixels:
    """Return the scale, mean and std by which black, white and red become the processor's values for them."""
    size = (image_input.width, image_input.height)
    black, white, red = (
        _run(processor, Image.new("RGB", size, color), _WITHOUT_GEOMETRY).mean(axis=(1, 2))
        for color in ("black", "white", "red")
    )
    rise = np.where(white == black, 1.0, white - black)
    mean, std = tuple(-black / rise), tuple(1 / rise)
    color = "rgb" if abs(red[0] - white[0]) <= abs(red[2] - white[2]) else "bgr"
    return Pixels(mean=_three(mean), std=_three(std), color=color)


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401 - one number, or one for each channel
    one, two, three = (values,) * 3 if isinstance(values, (int, float)) else values
    return float(one), float(two), float(three)


def _transform(
    processor: Processor,
    fitted: _Fitted,
) -> Callable[[bytes], NDArray[np.float32]] | None:
    if not fitted.size_of_its_own:
        return None
    target = fitted.image_input
    options: dict[str, Any] = {}
    if fitted.note:
        options = {"size": {"height": target.height, "width": target.width}, **_ONE_SIZE}

    for tried in _TRIED:
        made = _run(processor, Image.new("RGB", tried), options).shape[1:]
        if made != (target.height, target.width):
            return None

    def transform(body: bytes) -> NDArray[np.float32]:
        return _run(processor, decode(body), options)

    return transform


def _run(processor: Processor, image: Image.Image, options: dict[str, Any]) -> NDArray[np.float32]:
    known = {name: value for name, value in options.items() if hasattr(processor, name)}
    values = processor(images=image, return_tensors="np", **known)["pixel_values"][0]
    return np.ascontiguousarray(values, np.float32)
