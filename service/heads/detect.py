"""Candidate boxes → what is there and where, on the image as displayed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypedDict

from service.heads.nms import Suppression, suppress
from service.imaging.geometry import Box
from service.imaging.overlay import (
    LabeledBox,
    draw_boxes,
)
from service.imaging.source_image import SourceImage

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """What a request asks for; `class_ids` None keeps all classes."""

    score_threshold: float = 0.3
    iou_threshold: float = 0.5
    max_detections: int = 100
    class_ids: frozenset[int] | None = None
    nms: Suppression = "per_class"
    box_format: BoxFormat = "xyxy"
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing: its box is xyxy in pixels of the displayed image."""

    label: str
    class_id: int
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Detections:
    """All things in an image, best first.

    `candidates` counts the boxes over the threshold before NMS, `kept` those after it and before `max_detections`.
    """

    width: int
    height: int
    candidates: int
    kept: int
    found: tuple[Detection, ...]


class DetectResult(TypedDict):
    width: int
    height: int
    candidates: int
    kept: int
    detections: list[dict[str, Any]]


def find_things(
    outputs: Mapping[str, NDArray[Any]],
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> Detections:
    """Return what is in the image.

    Args:
        outputs: `boxes` float32 (D, 4) xyxy in 0–1 of the frame, `scores` float32 (D,), `classes` int32 (D,).
        source: where the frame lay on the image.
        labels: by class id.
        options: thresholds, limits and wanted classes.
    """
    boxes, scores, classes = outputs["boxes"], outputs["scores"], outputs["classes"]
    wanted = (scores >= options.score_threshold) & (scores > 0)
    if options.class_ids is not None:
        wanted &= np.isin(classes, list(options.class_ids))
    boxes, scores, classes = boxes[wanted], scores[wanted], classes[wanted]
    kept, final_scores = suppress(
        boxes, scores, classes, iou_threshold=options.iou_threshold, mode=options.nms
    )
    on_image = source.geometry.boxes_on_image(boxes[kept])
    found = [
        Detection(labels[class_id], class_id, score, (box[0], box[1], box[2], box[3]))
        for box, score, class_id in zip(
            on_image.tolist(), final_scores.tolist(), classes[kept].tolist(), strict=True
        )
        if score >= options.score_threshold and box[2] > box[0] and box[3] > box[1]
    ]
    geometry = source.geometry
    shown = tuple(found[: options.max_detections])
    return Detections(geometry.width, geometry.height, int(wanted.sum()), len(found), shown)


def detect(
    outputs: Mapping[str, NDArray[Any]],
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> DetectResult:
    """Return `find_things` as the JSON result, boxes in the format asked for."""
    things = find_things(outputs, source, labels=labels, options=options)
    scale = (1 / things.width, 1 / things.height) if options.normalized else (1.0, 1.0)
    digits = 6 if options.normalized else 2
    shape = BOX_FORMATS[options.box_format]
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
                "box": _rounded(shape(_scaled(thing.box, scale)), digits),
            }
            for thing in things.found
        ],
    }


def draw_detections(
    outputs: Mapping[str, NDArray[Any]],
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
) -> Image.Image:
    """Return the displayed image with labeled boxes drawn on it."""
    things = find_things(outputs, source, labels=labels, options=options)
    boxes = [
        LabeledBox(thing.box, f"{thing.label} {thing.score:.0%}", thing.class_id)
        for thing in things.found
    ]
    return draw_boxes(source.displayed(), boxes)


def _xyxy(box: Box) -> dict[str, float]:
    return dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))


def _xywh(box: Box) -> dict[str, float]:
    return {"x": box[0], "y": box[1], "width": box[2] - box[0], "height": box[3] - box[1]}


def _cxcywh(box: Box) -> dict[str, float]:
    return {
        "x_center": (box[0] + box[2]) / 2,
        "y_center": (box[1] + box[3]) / 2,
        "width": box[2] - box[0],
        "height": box[3] - box[1],
    }


BOX_FORMATS: dict[BoxFormat, Callable[[Box], dict[str, float]]] = {
    "xyxy": _xyxy,
    "xywh": _xywh,
    "cxcywh": _cxcywh,
}


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]


def _rounded(box: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in box.items()}
