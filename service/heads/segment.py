"""A mask → the areas of each class, or an image of them, at the displayed image's own size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypedDict

from service.errors import InvalidParameterError
from service.imaging.masks import (
    ImageMask,
    bounding_box,
    class_probability,
    enlarge,
    mask_on_image,
    polygons,
    rle,
)
from service.imaging.overlay import (
    cut_out,
    draw_mask,
    indexed_mask,
)
from service.imaging.source_image import SourceImage

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SegmentClasses:
    """What a model's mask can hold: names by id, and the id that is no thing."""

    labels: Sequence[str]
    background_id: int | None


class Segment(TypedDict):
    label: str
    class_id: int
    area: int
    fraction: float
    confidence: float
    box: dict[str, float]
    rle: dict[str, object]
    polygons: NotRequired[list[list[float]]]


class SegmentResult(TypedDict):
    width: int
    height: int
    segments: list[Segment]


def segment(
    outputs: Outputs, source: SourceImage, *, classes: SegmentClasses, with_polygons: bool
) -> SegmentResult:
    """Return the areas of every class that is present, largest first.

    Args:
        outputs: `mask` and `confidence`, uint8 (H, W).
        source: where the frame lay on the image.
        classes: what the ids mean.
        with_polygons: outlines too.
    """
    found = _on_image(outputs, source, classes)
    counts = np.bincount(found.ids.ravel(), minlength=len(classes.labels))
    present = [
        class_id
        for class_id in np.argsort(-counts, kind="stable").tolist()
        if counts[class_id] and class_id != classes.background_id
    ]
    return {
        "width": source.geometry.width,
        "height": source.geometry.height,
        "segments": [
            _segment(found, class_id, classes, with_polygons=with_polygons) for class_id in present
        ],
    }


def _segment(
    found: ImageMask, class_id: int, classes: SegmentClasses, *, with_polygons: bool
) -> Segment:
    region = found.ids == class_id
    area = int(np.count_nonzero(region))
    left, top, right, bottom = bounding_box(region)
    result: Segment = {
        "label": classes.labels[class_id],
        "class_id": class_id,
        "area": area,
        "fraction": round(area / region.size, 6),
        "confidence": round(float(found.confidence[region].mean()) / 255, 6),
        "box": {"x_min": left, "y_min": top, "x_max": right, "y_max": bottom},
        "rle": rle(region),
    }
    if with_polygons:
        result["polygons"] = polygons(region)
    return result


def _on_image(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> ImageMask:
    return mask_on_image(
        outputs["mask"], outputs["confidence"], source.geometry, len(classes.labels)
    )


def draw_index_mask(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the mask as a palette image whose index is the class id."""
    return indexed_mask(_on_image(outputs, source, classes).ids)


def draw_confidence(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the probability of each pixel's class, mode L, 255 is 1."""
    return Image.fromarray(_on_image(outputs, source, classes).confidence)


def draw_segments(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the displayed image with every class but the background laid over it."""
    return draw_mask(source.displayed(), _on_image(outputs, source, classes).ids)


def draw_cutout(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Alpha is the probability of not being background, so that the edge is as soft as the network is unsure."""
    if classes.background_id is None:
        raise InvalidParameterError("format: cutout needs a model with a background class")
    background = class_probability(
        outputs["mask"], outputs["confidence"], classes.background_id, len(classes.labels)
    )
    return cut_out(source.displayed(), enlarge(255 - background, source.geometry))
