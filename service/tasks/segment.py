"""`segment`: an image in, a mask out, as areas or as an image."""

from collections.abc import Callable, Sequence
from typing import Annotated

from PIL import Image
from pydantic import Field

from service.card import Card
from service.errors import InvalidParameterError
from service.heads.agreement import MASKS
from service.heads.components import components
from service.heads.detect import Detection
from service.heads.outputs import Outputs
from service.heads.over_time.segment import SegmentCombiner, SegmentFrame, SegmentSummary
from service.heads.sameness import same_areas
from service.heads.segment import (
    SegmentClasses,
    SegmentResult,
    draw_confidence,
    draw_cutout,
    draw_index_mask,
    draw_segments,
    segment,
)
from service.heads.targets import choose_area
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, PNG
from service.tasks.options import Polygons
from service.tasks.task import Boxes, Draw, OverTime, Task, TaskOptions, drawn


class SegmentOptions(TaskOptions):
    polygons: Polygons = False


class SegmentBoxes(TaskOptions):
    join_classes: Annotated[
        bool, Field(description="Connected pixels are one thing, whatever their classes")
    ] = False


def _boxes(
    outputs: Outputs, source: SourceImage, card: Card, _: SegmentOptions, boxes: SegmentBoxes
) -> Sequence[Detection]:
    return components(
        outputs,
        source,
        labels=card.labels,
        background_id=card.background_id,
        join_classes=boxes.join_classes,
    )


def _classes(card: Card) -> SegmentClasses:
    return SegmentClasses(card.labels, card.background_id)


def _head(
    outputs: Outputs, source: SourceImage, card: Card, options: SegmentOptions
) -> SegmentResult:
    return segment(outputs, source, classes=_classes(card), with_polygons=options.polygons)


def _drawing(draw: Callable[[Outputs, SourceImage, SegmentClasses], Image.Image]) -> Draw:
    def drawing(
        outputs: Outputs,
        source: SourceImage,
        card: Card,
        options: SegmentOptions,
    ) -> Image.Image:
        return draw(outputs, source, _classes(card))

    return drawing


def _has_background(card: Card) -> None:
    if card.background_id is None:
        raise InvalidParameterError(
            f"format: cutout needs a background class, and {card.name} has none"
        )


def _begin(options: SegmentOptions, card: Card) -> SegmentCombiner:
    return SegmentCombiner(_classes(card), with_polygons=options.polygons)


SEGMENT = Task(
    name="segment",
    summary="Which pixels belong to what",
    outputs=("mask", "confidence", "features"),
    options=SegmentOptions,
    result=SegmentResult,
    head=_head,
    renderings={
        "mask": drawn(
            "a palette PNG whose index is the class id",
            _drawing(draw_index_mask),
            has_colors=False,
        ),
        "overlay": drawn("classes laid over the image", _drawing(draw_segments), (JPEG, PNG)),
        "cutout": drawn(
            "the image with a transparent background",
            _drawing(draw_cutout),
            check=_has_background,
        ),
        "confidence": drawn(
            "each pixel's probability, in gray", _drawing(draw_confidence), has_colors=False
        ),
    },
    over_time=OverTime(SegmentOptions, _begin, SegmentFrame, SegmentSummary),
    target=choose_area,
    boxes=Boxes(_boxes, SegmentBoxes),
    agreement=MASKS,
    same_result=same_areas,
)
