"""Boxes: how much two of them overlap, and how one is written as JSON."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.imaging.geometry import Box

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]


@with_config(ConfigDict(extra="forbid"))
class CornersBox(TypedDict):
    """A box by two corners (`xyxy`); x grows to the right, y downward, from the image's upper left corner."""

    x_min: Annotated[float, Field(description="Left edge")]
    y_min: Annotated[float, Field(description="Upper edge")]
    x_max: Annotated[float, Field(description="Right edge")]
    y_max: Annotated[float, Field(description="Lower edge")]


@with_config(ConfigDict(extra="forbid"))
class SizeBox(TypedDict):
    """A box by its upper left corner and its size (`xywh`)."""

    x: Annotated[float, Field(description="Left edge")]
    y: Annotated[float, Field(description="Upper edge")]
    width: Annotated[float, Field(ge=0)]
    height: Annotated[float, Field(ge=0)]


@with_config(ConfigDict(extra="forbid"))
class CenterBox(TypedDict):
    """A box by its center and its size (`cxcywh`)."""

    x_center: float
    y_center: float
    width: Annotated[float, Field(ge=0)]
    height: Annotated[float, Field(ge=0)]


AnyBox = CornersBox | SizeBox | CenterBox


def iou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of each box with each other box.

    Args:
        boxes: float32 (A, 4), xyxy in any one frame.
        others: float32 (B, 4), in the same frame.

    Returns:
        float32 (A, B), 0–1; 0 where both boxes are empty.
    """
    left, top, right, bottom = (edge[:, None] for edge in boxes.T)
    other_left, other_top, other_right, other_bottom = others.T
    shared = _length(np.maximum(left, other_left), np.minimum(right, other_right))
    shared *= _length(np.maximum(top, other_top), np.minimum(bottom, other_bottom))
    union = _areas(boxes)[:, None] + _areas(others)[None, :] - shared
    ratio: NDArray[np.float32] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return ratio


def corners(box: Box, digits: int = 2) -> CornersBox:
    """Return an xyxy box as JSON, rounded to so many decimal places; two suit pixels, six suit 0–1."""
    left, top, right, bottom = (round(float(edge), digits) for edge in box)
    return {"x_min": left, "y_min": top, "x_max": right, "y_max": bottom}


def corner_and_size(box: Box, digits: int = 2) -> SizeBox:
    """Return an xyxy box as JSON by its corner and size; see `corners`."""
    left, top, right, bottom = box
    return {
        "x": round(left, digits),
        "y": round(top, digits),
        "width": round(right - left, digits),
        "height": round(bottom - top, digits),
    }


def center_and_size(box: Box, digits: int = 2) -> CenterBox:
    """Return an xyxy box as JSON by its center and size; see `corners`."""
    left, top, right, bottom = box
    return {
        "x_center": round((left + right) / 2, digits),
        "y_center": round((top + bottom) / 2, digits),
        "width": round(right - left, digits),
        "height": round(bottom - top, digits),
    }


BOX_FORMATS: dict[BoxFormat, Callable[[Box, int], AnyBox]] = {
    "xyxy": corners,
    "xywh": corner_and_size,
    "cxcywh": center_and_size,
}


def _length(begin: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return end - begin, 0 where that is negative."""
    lengths: NDArray[np.float32] = end - begin
    return np.maximum(lengths, 0, out=lengths)


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    return areas
