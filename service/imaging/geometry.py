"""Where a network's frame lies on the displayed image: planned before a pixel is read, used to carry results back."""

import numpy as np
from numpy.typing import NDArray

from service.card import ImageInput
from service.value import value

Box = tuple[float, float, float, float]
"""(x_min, y_min, x_max, y_max)."""


@value
class Geometry:
    """The place of a frame on the displayed image.

    Args:
        width: of the image as displayed, in pixels.
        height: of the image as displayed, in pixels.
        region: what the frame covers, in pixels of the image as displayed. With `crop` it lies inside the image, with
            `stretch` it is the image, with `letterbox` it extends beyond the image by the padding.
        content: the part of the frame, in whole pixels, that shows image and not padding: left, top, right, bottom.
    """

    width: int
    height: int
    region: Box
    content: tuple[int, int, int, int]

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """The part of the image that the network sees, in whole pixels: left, top, right, bottom."""
        left, top, right, bottom = self.region
        x0 = min(max(0, round(left)), self.width - 1)
        y0 = min(max(0, round(top)), self.height - 1)
        return (
            x0,
            y0,
            max(x0 + 1, min(self.width, round(right))),
            max(y0 + 1, min(self.height, round(bottom))),
        )

    @property
    def seen_fraction(self) -> float:
        """The share of the image's pixels that the network sees, 0–1."""
        left, top, right, bottom = self.seen
        return (right - left) * (bottom - top) / (self.width * self.height)

    def boxes_on_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry xyxy boxes from 0–1 of the frame to pixels of the image, clipped to what the frame shows of it.

        Args:
            boxes: float32 (D, 4), xyxy in 0–1 of the network's frame, which they may reach beyond.

        Returns:
            float32 (D, 4), xyxy in pixels of the displayed image.
        """
        left, top, right, bottom = self.region
        scale = np.array([right - left, bottom - top] * 2, np.float32)
        offset = np.array([left, top] * 2, np.float32)
        lowest = np.array([max(0, left), max(0, top)] * 2, np.float32)
        highest = np.array([min(self.width, right), min(self.height, bottom)] * 2, np.float32)
        carried: NDArray[np.float32] = np.clip(boxes * scale + offset, lowest, highest)
        return carried


def plan(width: int, height: int, target: ImageInput) -> Geometry:
    """Return where the frame that `target` describes lies on a displayed image of width×height pixels."""
    if target.resize == "stretch":
        region = (0.0, 0.0, float(width), float(height))
        return Geometry(width, height, region, (0, 0, target.width, target.height))
    if target.resize == "letterbox":
        return _letterbox(width, height, target)
    return _center_crop(width, height, target)


def _center_crop(width: int, height: int, target: ImageInput) -> Geometry:
    """Resize(shorter_side), then CenterCrop, with the rounding of torchvision.transforms."""
    side = target.shorter_side or min(target.height, target.width)
    if width <= height:
        scaled_w, scaled_h = side, int(side * height / width)
    else:
        scaled_w, scaled_h = int(side * width / height), side
    left, top = round((scaled_w - target.width) / 2), round((scaled_h - target.height) / 2)
    across, down = width / scaled_w, height / scaled_h
    region = (
        left * across,
        top * down,
        (left + target.width) * across,
        (top + target.height) * down,
    )
    return Geometry(width, height, region, (0, 0, target.width, target.height))


def _letterbox(width: int, height: int, target: ImageInput) -> Geometry:
    scale = min(target.width / width, target.height / height)
    content_w, content_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (target.width - content_w) // 2, (target.height - content_h) // 2
    if target.placement == "corner":
        left, top = 0, 0
    across, down = width / content_w, height / content_h
    region = (
        -left * across,
        -top * down,
        (target.width - left) * across,
        (target.height - top) * down,
    )
    return Geometry(width, height, region, (left, top, left + content_w, top + content_h))
