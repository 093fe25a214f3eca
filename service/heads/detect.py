"""Candidate boxes → the things in an image, with boxes on the image as displayed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.boxes import BOX_FORMATS, AnyBox, BoxFormat
from service.heads.nms import Suppression, suppress
from service.heads.outputs import Outputs, require_finite
from service.imaging.geometry import Box
from service.imaging.overlay import LabeledBox, draw_boxes
from service.imaging.source_image import SourceImage


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """The options of a request; `class_ids` None keeps all classes."""

    score_threshold: float = 0.3
    iou_threshold: float = 0.5
    max_detections: int = 100
    class_ids: frozenset[int] | None = None
    nms: Suppression = "per_class"
    box_format: BoxFormat = "xyxy"
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing; its box is xyxy in pixels of the displayed image.

    `region`, bool (h, w), says which parts of the box are the thing, where that is known.
    """

    label: str
    class_id: int
    score: float
    box: Box
    region: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Detections:
    """The things in an image, best first; see `DetectResult` for the counts."""

    width: int
    height: int
    candidates: int
    kept: int
    found: tuple[Detection, ...]


@with_config(ConfigDict(extra="forbid"))
class DetectedObject(TypedDict):
    label: str
    class_id: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(ge=0, le=1)]
    box: Annotated[
        AnyBox,
        Field(
            description="In the form of `box_format`; in pixels of the image as displayed, or, with `normalized`, in "
            "0–1 of its width and height"
        ),
    ]


@with_config(ConfigDict(extra="forbid"))
class DetectResult(TypedDict):
    width: Annotated[int, Field(ge=1, description="Width of the image as displayed, in pixels")]
    height: Annotated[int, Field(ge=1, description="Height of the image as displayed, in pixels")]
    candidates: Annotated[
        int, Field(ge=0, description="Boxes with at least `score_threshold`, before NMS")
    ]
    kept: Annotated[int, Field(ge=0, description="Boxes after NMS, before `max_detections`")]
    detections: Annotated[list[DetectedObject], Field(description="The things, best first")]


def find_things(
    outputs: Outputs,
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> Detections:
    """Return what is in the image.

    Args:
        outputs: `boxes` float32 (D, 4) xyxy in 0–1 of the frame, which they may reach beyond, `scores` float32 (D,),
            `classes` int32 (D,).
        source: its geometry carries boxes from the frame to the image.
        labels: by class id.
        options: thresholds, limits and wanted classes.

    Boxes compete as the network gives them; what is kept is cut to the image, and what has no area there is left out.
    A negative class marks a row that only fills up the list. A class without a label is named by its id.

    Raises:
        InferenceError: a score is not finite; or a box whose score is high enough is not.
    """
    boxes, scores, classes = outputs["boxes"], outputs["scores"], outputs["classes"]
    require_finite(scores, "scores")
    wanted = (scores >= options.score_threshold) & (scores > 0) & (classes >= 0)
    if options.class_ids is not None:
        wanted &= np.isin(classes, list(options.class_ids))
    boxes, scores, classes = boxes[wanted], scores[wanted], classes[wanted]
    require_finite(boxes, "boxes")
    kept, final_scores = suppress(
        boxes,
        scores,
        classes,
        iou_threshold=options.iou_threshold,
        mode=options.nms,
        least_score=options.score_threshold,
    )
    on_image = source.geometry.boxes_on_image(boxes[kept])
    found = [
        Detection(_name(labels, class_id), class_id, score, (box[0], box[1], box[2], box[3]))
        for box, score, class_id in zip(
            on_image.tolist(), final_scores.tolist(), classes[kept].tolist(), strict=True
        )
        if score >= options.score_threshold and box[2] > box[0] and box[3] > box[1]
    ]
    geometry = source.geometry
    shown = tuple(found[: options.max_detections])
    return Detections(geometry.width, geometry.height, int(wanted.sum()), len(found), shown)


def detect(
    outputs: Outputs,
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> DetectResult:
    """Return the result of `find_things` as JSON, boxes in the wanted format."""
    things = find_things(outputs, source, labels=labels, options=options)
    scale = (1 / things.width, 1 / things.height) if options.normalized else (1.0, 1.0)
    digits = 6 if options.normalized else 2
    formatted = BOX_FORMATS[options.box_format]
    return {
        "width": things.width,
        "height": things.height,
        "candidates": things.candidates,
        "kept": things.kept,
        "detections": [
            {
                "label": thing.label,
                "class_id": thing.class_id,
                "score": round(thing.score, 6),
                "box": formatted(_scaled(thing.box, scale), digits),
            }
            for thing in things.found
        ],
    }


def draw_detections(
    outputs: Outputs,
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> Image.Image:
    """Return the displayed image, mode RGB, with the labeled boxes of `find_things` drawn on it."""
    things = find_things(outputs, source, labels=labels, options=options)
    return draw_boxes(source.drawable(), [labeled_box(thing) for thing in things.found])


def labeled_box(thing: Detection) -> LabeledBox:
    """Return a detection's box with its label and its score in per cent."""
    return LabeledBox(thing.box, f"{thing.label} {thing.score:.0%}", thing.class_id)


def _name(labels: Sequence[str], class_id: int) -> str:
    """Return the label of a class; an end-to-end detector may find one that its labels do not reach."""
    return labels[class_id] if class_id < len(labels) else f"class {class_id}"


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]
