"""What a step sees of a box: a part of the image in whole pixels, with a margin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.card import ImageInput
from service.chains.definition import Step
from service.heads.detect import Detection
from service.imaging.decode import Limits
from service.imaging.geometry import Box
from service.imaging.resize import fit_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Tensor

Region = tuple[int, int, int, int]
"""Left, top, right and bottom, in whole pixels of the image that is cropped."""


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
    """Return the part of an image that a step sees of a box: always inside of the image, and at least one pixel.

    A square that reaches beyond an edge is moved inside.

    Args:
        step: its margin, and whether the part is square.
        box: xyxy in pixels.
        size: width and height of the image.
    """
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    if step.square:
        side = max(across, down) * (1 + 2 * step.margin)
        left = _moved_inside((left + right - side) / 2, side, size[0])
        top = _moved_inside((top + bottom - side) / 2, side, size[1])
        right, bottom = left + side, top + side
    else:
        left, right = left - across * step.margin, right + across * step.margin
        top, bottom = top - down * step.margin, bottom + down * step.margin
    x_min, x_max = _whole(left, right, size[0])
    y_min, y_max = _whole(top, bottom, size[1])
    return x_min, y_min, x_max, y_max


def _moved_inside(start: float, length: float, limit: int) -> float:
    return max(0.0, min(start, limit - length))


def _whole(start: float, end: float, limit: int) -> tuple[int, int]:
    """Return whole pixels around a stretch, clipped; rounding errors add none."""
    first = min(max(0, math.floor(start + 1e-3)), limit - 1)
    return first, min(max(first + 1, math.ceil(end - 1e-3)), limit)


def cut(image: Image.Image, region: Region, thing: Detection, step: Step) -> Image.Image:
    """Return a part of an image, mode RGB; with `background = "mean"` what is not the thing has one even color.

    That color is the mean of what is not the thing.
    """
    part = image.crop(region)
    if step.background == "keep" or thing.region is None:
        return part
    left, top, right, bottom = thing.box
    shape = Image.fromarray(thing.region.astype(np.uint8) * 255)
    scale = (thing.region.shape[1] / (right - left), thing.region.shape[0] / (bottom - top))
    # The affine map from a pixel of the part to the region; beyond the region it gives 0.
    opacity = shape.transform(
        part.size,
        Image.Transform.AFFINE,
        (
            scale[0], 0, (region[0] - left) * scale[0],
            0, scale[1], (region[1] - top) * scale[1],
        ),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    inside = np.asarray(opacity) >= 128
    pixels = np.asarray(part)
    if inside.all() or not inside.any():
        return part
    color = pixels[~inside].mean(axis=0).round().astype(np.uint8)
    return Image.fromarray(np.where(inside[..., None], pixels, color))


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


def bytes_of(region: Region) -> int:
    """Return how many bytes the pixels of a part take."""
    return (region[2] - region[0]) * (region[3] - region[1]) * 3
