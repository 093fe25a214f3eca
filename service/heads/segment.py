"""A mask → the area of each class, or an image of the mask, at the displayed image's own size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NotRequired

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import InferenceError, InvalidParameterError
from service.heads.boxes import CornersBox, corners
from service.heads.outputs import Outputs
from service.imaging.masks import (
    ImageMask,
    RunLengths,
    bounding_box,
    class_probability,
    enlarge,
    mask_on_image,
    polygons,
    rle,
)
from service.imaging.overlay import cut_out, draw_mask, indexed_mask
from service.imaging.source_image import SourceImage


@dataclass(frozen=True, slots=True)
class SegmentClasses:
    """The classes of a model's masks: names by id, and the id of the background, None if no class is background."""

    labels: Sequence[str]
    background_id: int | None


@with_config(ConfigDict(extra="forbid"))
class Segment(TypedDict):
    """All pixels of one class."""

    label: str
    class_id: Annotated[int, Field(ge=0)]
    area: Annotated[int, Field(ge=1, description="In pixels of the image as displayed")]
    fraction: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="`area` as a share of all pixels of the image, those that a center crop left out included",
        ),
    ]
    confidence: Annotated[
        float, Field(ge=0, le=1, description="Mean probability of the class over the area")
    ]
    box: Annotated[CornersBox, Field(description="The tight box around the area, in pixels")]
    rle: RunLengths
    polygons: NotRequired[
        Annotated[
            list[list[float]],
            Field(
                description="With `polygons`: the area's outlines as COCO polygons, flat [x, y, …] in pixels; "
                "a hole is an outline of its own, after the one around it"
            ),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class SegmentResult(TypedDict):
    width: Annotated[int, Field(ge=1, description="Width of the image as displayed, in pixels")]
    height: Annotated[int, Field(ge=1, description="Height of the image as displayed, in pixels")]
    segments: Annotated[
        list[Segment],
        Field(description="The classes that are present, without the background, largest first"),
    ]


def segment(
    outputs: Outputs, source: SourceImage, *, classes: SegmentClasses, with_polygons: bool
) -> SegmentResult:
    """Return the area of every class that is present but the background, largest first.

    Pixels that the network did not see, as outside of a center crop, belong to no class. A fraction is a share of all
    pixels of the image, unseen ones included.

    Args:
        outputs: `mask` and `confidence`, uint8 (H, W).
        source: its geometry carries the mask from the frame to the image.
        classes: the meaning of the ids.
        with_polygons: adds outlines.
    """
    mask = _on_image(outputs, source, classes)
    areas = mask.areas(len(classes.labels))
    present = [
        class_id
        for class_id in np.argsort(-areas, kind="stable").tolist()
        if areas[class_id] and class_id != classes.background_id
    ]
    return {
        "width": source.geometry.width,
        "height": source.geometry.height,
        "segments": [
            _segment(mask, class_id, classes.labels[class_id], with_polygons=with_polygons)
            for class_id in present
        ],
    }


def _segment(mask: ImageMask, class_id: int, label: str, *, with_polygons: bool) -> Segment:
    region = mask.region(class_id)
    area = int(np.count_nonzero(region))
    result: Segment = {
        "label": label,
        "class_id": class_id,
        "area": area,
        "fraction": round(area / region.size, 6),
        "confidence": round(float(mask.confidence[region].mean()) / 255, 6),
        "box": corners(bounding_box(region)),
        "rle": rle(region),
    }
    if with_polygons:
        result["polygons"] = polygons(region)
    return result


def draw_segments(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the displayed image, mode RGB, with every class but the background laid over it in its color."""
    image = source.drawable()  # first: decoding takes more memory than the mask does
    return draw_mask(image, _on_image(outputs, source, classes), classes.background_id)


def draw_index_mask(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the mask as a palette image, mode P, of the displayed image's size; its index is the class id.

    The background is black. Pixels that the network did not see have the background's index; where no class is
    background they have index 255, drawn white, or 0 where 255 is a class.
    """
    mask = _on_image(outputs, source, classes)
    return indexed_mask(mask, classes.background_id, len(classes.labels))


def draw_confidence(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the probability of each pixel's class, mode L, 255 is 1; 0 where the network did not see the pixel."""
    return Image.fromarray(_on_image(outputs, source, classes).confidence)


def draw_cutout(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> Image.Image:
    """Return the displayed image, mode RGBA; alpha is the probability that a pixel is not background.

    So an edge is as soft as the network is unsure. Pixels that the network did not see are transparent.

    Raises:
        InvalidParameterError: no class is background.
    """
    if classes.background_id is None:
        raise InvalidParameterError("format: cutout needs a model with a background class")
    background = class_probability(
        outputs["mask"], outputs["confidence"], classes.background_id, len(classes.labels)
    )
    return cut_out(source.displayed(), enlarge(255 - background, source.geometry))


def _on_image(outputs: Outputs, source: SourceImage, classes: SegmentClasses) -> ImageMask:
    highest, count = int(outputs["mask"].max()), len(classes.labels)
    if highest >= count:
        raise InferenceError(f"The mask holds class {highest}, and the card names {count} classes.")
    return mask_on_image(
        outputs["mask"], outputs["confidence"], source.geometry, len(classes.labels)
    )
