"""`view=story`: pixels → first filters → maps of each stage → heat → the answer, on one sheet."""

from typing import Any

from PIL import Image

from service.card import Card
from service.explain.heat import see_heat
from service.explain.request import ExplainRequest
from service.explain.runner import Frame
from service.explain.sheets import StorySheet, story_sheet
from service.explain.stage_maps import stage_maps
from service.graph.anatomy import Anatomy
from service.heads.classify import classify
from service.heads.detect import DetectionOptions, find_things
from service.heads.segment import SegmentClasses, draw_segments
from service.imaging.overlay import LabeledBox, RenderedImage, draw_boxes, encode_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Outputs

TOLD_CLASSES = 5
MAPS_A_STAGE = 8


def explain_story(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    anatomy: Anatomy,
    request: ExplainRequest,
) -> dict[str, Any] | RenderedImage:
    """Return every step from pixels to the answer; the heat needs no second run: exact CAM, else EigenCAM.

    Raises:
        InvalidParameterError: the network sees no such target.
    """
    way = "cam" if anatomy.head is not None else "eigencam"
    seen = see_heat(outputs, frame, source, card=card, anatomy=anatomy, request=request)
    assert seen.heat is not None
    stages = stage_maps(outputs, card.stages, count=MAPS_A_STAGE)
    predictions = []
    if card.task == "classify":
        top_k = min(TOLD_CLASSES, len(card.labels))
        predictions = classify(outputs, source, labels=card.labels, top_k=top_k)["predictions"]
    if request.form != "json":
        sheet = StorySheet(
            model=card.name,
            target=seen.target,
            frame=Image.fromarray(frame),
            image=source.displayed(),
            first=anatomy.first,
            stages=stages,
            heat=seen.heat,
            stage=seen.stage,
            method=f"what speaks for {seen.target.caption}, place by place"
            if way == "cam"
            else "what stands out, whatever for",
            predictions=[(one["label"], one["probability"]) for one in predictions],
            answer=_answer(outputs, source, card),
        )
        return encode_image(story_sheet(sheet, source.geometry), "png")
    told: dict[str, Any] = {
        "width": source.geometry.width,
        "height": source.geometry.height,
        "target": seen.target.figures(),
        "filters": 0 if anatomy.first is None else len(anatomy.first.weights),
        "stages": [{**stage.figures(), "maps": [stage.maps[0].figures()]} for stage in stages],
        "method": way,
        "heat": seen.heat.figures(source.geometry.region),
        "peak": seen.heat.peak(source.geometry),
    }
    if predictions:
        told["predictions"] = predictions
    return told


def _answer(outputs: Outputs, source: SourceImage, card: Card) -> Image.Image | None:
    """Return the answer of a network that answers on the image itself, drawn."""
    if card.task == "detect":
        things = find_things(outputs, source, labels=card.labels, options=DetectionOptions())
        boxes = [
            LabeledBox(thing.box, f"{thing.label} {thing.score:.0%}", thing.class_id)
            for thing in things.found
        ]
        return draw_boxes(source.displayed(), boxes)
    if card.task == "segment":
        classes = SegmentClasses(card.labels, card.background_id)
        return draw_segments(outputs, source, classes)
    return None
