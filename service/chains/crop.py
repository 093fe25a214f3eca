"""What a step sees of a box: a part of the image in whole pixels, with a margin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import ImageInput
from service.chains.definition import Step
from service.heads.detect import Detection
from service.imaging.decode import Limits
from service.imaging.geometry import Box
from service.imaging.resize import fit_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Tensor

MOST_PADDED = 4
"""How many times as large as its part on the image a square may be."""
ROUNDING = 1e-3
"""Pixels by which an edge may miss a whole one."""

Region = tuple[int, int, int, int]
"""Left, top, right and bottom, in whole pixels of the image that is cropped; a square may reach beyond it."""


def chosen(step: Step, things: Sequence[Detection], size: tuple[int, int]) -> list[int]:
    """Return the indices of the things that a step reads, in order: those with its labels, not too small nor too many.

    Args:
        step: what it wants.
        things: the boxes of the step before, best first, in pixels of the image that is cropped.
        size: width and height of that image.
    """
    least = step.min_side * min(size)
    wanted = [
        index
        for index, thing in enumerate(things)
        if (not step.labels or thing.label in step.labels)
        and max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) >= least
    ]
    return wanted[: step.max_boxes]


def region_of(step: Step, box: Box, size: tuple[int, int]) -> Region:
    """Return the part of an image that a step sees of a box, at least one pixel.

    It is clipped to the image. A square one keeps its box in the middle and may reach beyond the image; one that would
    be mostly beyond is moved inside and clipped.

    Args:
        step: its margin, and whether the part is square.
        box: xyxy in pixels.
        size: width and height of the image.
    """
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    if step.square:
        side = max(across, down) * (1 + 2 * step.margin)
        left, top = (left + right - side) / 2, (top + bottom - side) / 2
        whole = _square(left, top, side)
        if pixels_of(whole) <= MOST_PADDED * pixels_of(_clipped(whole, size)):
            return whole
        left, top = _moved_inside(left, side, size[0]), _moved_inside(top, side, size[1])
        right, bottom = left + side, top + side
    else:
        left, right = left - across * step.margin, right + across * step.margin
        top, bottom = top - down * step.margin, bottom + down * step.margin
    x_min, x_max = _whole(left, right, size[0])
    y_min, y_max = _whole(top, bottom, size[1])
    return x_min, y_min, x_max, y_max


def _square(left: float, top: float, side: float) -> Region:
    length = max(1, math.ceil(side - ROUNDING))
    x, y = math.floor(left + ROUNDING), math.floor(top + ROUNDING)
    return x, y, x + length, y + length


def _clipped(region: Region, size: tuple[int, int]) -> Region:
    """Return what of a region is on the image; without area where there is nothing."""
    left, top = min(max(0, region[0]), size[0]), min(max(0, region[1]), size[1])
    right, bottom = min(max(left, region[2]), size[0]), min(max(top, region[3]), size[1])
    return left, top, right, bottom


def _moved_inside(start: float, length: float, limit: int) -> float:
    return max(0.0, min(start, limit - length))


def _whole(start: float, end: float, limit: int) -> tuple[int, int]:
    """Return whole pixels around a stretch, clipped; rounding errors add none."""
    first = min(max(0, math.floor(start + ROUNDING)), limit - 1)
    return first, min(max(first + 1, math.ceil(end - ROUNDING)), limit)


def cut(image: Image.Image, region: Region, thing: Detection, step: Step) -> Image.Image:
    """Return a part of an image, mode RGB.

    With `background = "mean"` what is not the thing has one even color: the mean of what is not the thing. What is
    beyond the image has this color always.
    """
    clipped = _clipped(region, image.size)
    part = image.crop(clipped)
    isolates = step.background == "mean" and thing.region is not None
    if clipped == region and not isolates:
        return part
    pixels, shape = np.asarray(part), _shape(thing, clipped)
    outside = pixels if shape is None or shape.all() else pixels[~shape]
    color = outside.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    if isolates and shape is not None and shape.any():
        part = Image.fromarray(np.where(shape[..., None], pixels, color))
    if clipped == region:
        return part
    whole = Image.new("RGB", (region[2] - region[0], region[3] - region[1]), tuple(color.tolist()))
    whole.paste(part, (clipped[0] - region[0], clipped[1] - region[1]))
    return whole


def _shape(thing: Detection, region: Region) -> NDArray[np.bool_] | None:
    """Return which pixels of a region of the image are the thing, bool (h, w); None where that is not known."""
    if thing.region is None:
        return None
    left, top, right, bottom = thing.box
    across = thing.region.shape[1] / (right - left)
    down = thing.region.shape[0] / (bottom - top)
    # The affine map from a pixel of the part to the thing's region; beyond that it gives 0.
    place = (across, 0, (region[0] - left) * across, 0, down, (region[1] - top) * down)
    opacity = Image.fromarray(thing.region.astype(np.uint8) * 255).transform(
        (region[2] - region[0], region[3] - region[1]),
        Image.Transform.AFFINE,
        place,
        Image.Resampling.BILINEAR,
    )
    shape: NDArray[np.bool_] = np.asarray(opacity) >= 128
    return shape


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of an image that a step will see; made on a worker thread.

    Attributes:
        image: what is cropped, mode RGB, as displayed.
        region: the part, in whole pixels of `image`.
        thing: what the part is about, in pixels of `image`.
        step: how it is cropped.
        limits: of an image.
    """

    image: Image.Image
    region: Region
    thing: Detection
    step: Step
    limits: Limits

    def prepare(self, target: ImageInput) -> tuple[Tensor, SourceImage]:
        """Return the network's frame of the part, and what a head may see of it."""
        part = cut(self.image, self.region, self.thing, self.step)
        tensor, geometry = fit_image(part, target)
        return tensor, SourceImage(part, geometry, self.limits)


def pixels_of(region: Region) -> int:
    """Return how many pixels a part has."""
    return (region[2] - region[0]) * (region[3] - region[1])


def bytes_of(region: Region) -> int:
    """Return how many bytes the pixels of a part take."""
    return 3 * pixels_of(region)
