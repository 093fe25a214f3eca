"""`detect`: an image in, labeled boxes out."""

from collections.abc import Sequence
from typing import Annotated, Any

from PIL import Image
from pydantic import Field

from service.card import Card
from service.errors import InvalidParameterError
from service.faults import nearest, shown
from service.heads.agreement import BOXES
from service.heads.boxes import BoxFormat
from service.heads.detect import (
    Detection,
    DetectionOptions,
    DetectResult,
    detect,
    draw_detections,
    find_things,
)
from service.heads.nms import Suppression, default_suppression
from service.heads.outputs import Outputs
from service.heads.over_time.detect import DetectCombiner, DetectFrame, DetectSummary
from service.heads.sameness import same_things
from service.heads.targets import choose_box
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, PNG
from service.tasks.options import Share
from service.tasks.task import Boxes, NoBoxOptions, OverTime, Task, TaskOptions, drawn


class DetectVideoOptions(TaskOptions):
    score_threshold: Annotated[Share, Field(description="Least score")] = 0.3
    iou_threshold: Annotated[
        Share, Field(description="Boxes that overlap a better one by more are dropped")
    ] = 0.5
    max_detections: Annotated[int, Field(ge=1, le=300, description="Most detections per image")] = (
        100
    )
    classes: Annotated[
        tuple[str, ...],
        Field(description="Keep only these, by name; repeated or separated by commas"),
    ] = ()


class DetectOptions(DetectVideoOptions):
    nms: Annotated[
        Suppression | None,
        Field(
            description="Which boxes compete: of one class, all, none; `soft` lowers scores instead; default: "
            "`per_class`, or `none` for a model whose card has `nms_free`, as those of the DETR family"
        ),
    ] = None
    box_format: Annotated[BoxFormat, Field(description="How a box is written")] = "xyxy"
    normalized: Annotated[bool, Field(description="Boxes in 0–1 of the image, not in pixels")] = (
        False
    )


def class_ids(names: Sequence[str], labels: Sequence[str]) -> frozenset[int] | None:
    """Return the ids of classes that are named, None where none is.

    Raises:
        InvalidParameterError: the model has no such class; the message lists the nearest names.
    """
    wanted = [name.strip() for given in names for name in given.split(",") if name.strip()]
    ids = {label: class_id for class_id, label in enumerate(labels) if label}
    for name in wanted:
        if name not in ids:
            near = nearest(name, ids, 3) or sorted(ids)[:8]
            raise InvalidParameterError(
                f"classes: there is no {shown(name)}; near: {', '.join(near)}"
            )
    return frozenset(ids[name] for name in wanted) or None


def _settle(options: DetectVideoOptions, card: Card) -> DetectionOptions:
    extra: dict[str, Any] = {"nms": default_suppression(card)}
    if isinstance(options, DetectOptions):
        extra |= {"box_format": options.box_format, "normalized": options.normalized}
        extra["nms"] = options.nms or extra["nms"]
    return DetectionOptions(
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        max_detections=options.max_detections,
        class_ids=class_ids(options.classes, card.labels),
        **extra,
    )


def _head(
    outputs: Outputs, source: SourceImage, card: Card, options: DetectionOptions
) -> DetectResult:
    return detect(outputs, source, labels=card.labels, options=options)


def _overlay(
    outputs: Outputs, source: SourceImage, card: Card, options: DetectionOptions
) -> Image.Image:
    return draw_detections(outputs, source, labels=card.labels, options=options)


def _boxes(
    outputs: Outputs, source: SourceImage, card: Card, options: DetectionOptions, _: NoBoxOptions
) -> Sequence[Detection]:
    return find_things(outputs, source, labels=card.labels, options=options).found


def _begin(options: DetectVideoOptions, card: Card) -> DetectCombiner:
    return DetectCombiner(card.labels, _settle(options, card))


DETECT = Task(
    name="detect",
    summary="What is in each image, and where",
    outputs=("boxes", "scores", "classes", "features"),
    options=DetectOptions,
    result=DetectResult,
    head=_head,
    settle=_settle,
    renderings={"overlay": drawn("the image with its boxes", _overlay, (JPEG, PNG))},
    over_time=OverTime(DetectVideoOptions, _begin, DetectFrame, DetectSummary),
    target=choose_box,
    boxes=Boxes(_boxes),
    agreement=BOXES,
    same_result=same_things,
)
