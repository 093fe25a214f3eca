"""`view=story`: pixels → first filters → maps of each stage → heat → result, on one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Annotated, Literal, NotRequired, get_type_hints

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Card
from service.explain.cam import one_run_method
from service.explain.explanation import Explanation
from service.explain.filter_images import filter_images
from service.explain.frame import Frame
from service.explain.heat import MadeHeat, Subject, read_subject
from service.explain.heat_map import HeatFigures, PeakFigures
from service.explain.sheets import MAPS_A_ROW, shown_source
from service.explain.stage_maps import StageFigures, StageMaps, stage_maps
from service.explain.view import View
from service.graph.first_layer import FirstLayer
from service.heads.classify import Prediction
from service.heads.outputs import Outputs
from service.heads.targets import TargetFigures
from service.imaging.charts import draw_bars
from service.imaging.colormap import colored
from service.imaging.heatmap import heat_image, overlay_heat
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.sheet import Row, Tile, draw_sheet
from service.imaging.source_image import SourceImage
from service.media_types import PNG
from service.runtime.job import JobResult
from service.tasks.task import Task

FILTERS_SHOWN = 16
MAGNIFIED_SIDE = 16
"""Pixels along each side of the part of the frame that is enlarged until one sees its pixels."""


@with_config(ConfigDict(extra="forbid"))
class StoryResult(TypedDict):
    """All steps from the pixels to the result; `width` and `height` are the displayed image's."""

    view: Literal["story"]
    width: int
    height: int
    target: TargetFigures
    filters: Annotated[int, Field(description="How many filters the first convolution has")]
    stages: Annotated[list[StageFigures], Field(description="Each with its strongest channel only")]
    method: Annotated[Literal["cam", "eigencam"], Field(description="How `heat` was made")]
    heat: HeatFigures
    peak: PeakFigures
    predictions: NotRequired[
        Annotated[list[Prediction], Field(description="For tasks that predict classes")]
    ]


@dataclass(frozen=True, slots=True)
class Story:
    """All that a story shows.

    Args:
        model: the model's name.
        subject: the image and the target.
        method: how the heat was made.
        made: the heat.
        first: the first convolution; None where the network has none.
        stages: the strongest channels of each stage.
        predictions: the most probable classes, for tasks that predict classes.
    """

    model: str
    subject: Subject
    method: Literal["cam", "eigencam"]
    made: MadeHeat
    first: FirstLayer | None
    stages: Sequence[StageMaps]
    predictions: Sequence[Prediction]

    def result(self) -> StoryResult:
        """Return the story as JSON."""
        geometry, heat = self.subject.source.geometry, self.made.heat
        result: StoryResult = {
            "view": "story",
            "width": geometry.width,
            "height": geometry.height,
            "target": self.subject.target.figures(),
            "filters": 0 if self.first is None else len(self.first.weights),
            "stages": [stage.figures([stage.maps[0].figures()]) for stage in self.stages],
            "method": self.method,
            "heat": heat.figures(geometry.region),
            "peak": heat.peak(geometry),
        }
        if self.predictions:
            result["predictions"] = list(self.predictions)
        return result


def explain_story(
    outputs: Outputs, frame: Frame, source: SourceImage, *, explanation: Explanation
) -> StoryResult | RenderedImage:
    """Return every step from the pixels to the result, all from one run of the network.

    Raises:
        InvalidParameterError: the network does not find the target in the image.
    """
    card, anatomy, task = explanation.card, explanation.anatomy, explanation.task
    subject = read_subject(outputs, frame, source, explanation=explanation)
    method = one_run_method(card, anatomy)
    assert method.read is not None
    story = Story(
        model=card.name,
        subject=subject,
        method="cam" if method.name == "cam" else "eigencam",
        made=method.read(outputs, subject),
        first=anatomy.first,
        stages=stage_maps(outputs, card.stages, count=MAPS_A_ROW),
        predictions=predictions_of(task, outputs, source, card),
    )
    if explanation.request.form == "json":
        return story.result()
    shown = shown_source(source)
    story = replace(story, subject=replace(subject, source=shown))
    drawn = None if story.predictions else drawn_result(task, outputs, shown, card)
    return encode_image(story_sheet(story, drawn), "png")


def predictions_of(
    task: Task, outputs: Outputs, source: SourceImage, card: Card
) -> list[Prediction]:
    """Return the classes that a task predicts by its default options; empty where its result has no `predictions`."""
    if task.head is None or "predictions" not in get_type_hints(task.result):
        return []
    result = task.head(outputs, source, card, task.settle(task.options(), card))
    predictions: list[Prediction] = result["predictions"]
    return predictions


def drawn_result(
    task: Task, outputs: Outputs, source: SourceImage, card: Card
) -> Image.Image | None:
    """Return a task's result drawn on the image by its default options; None where the task has no `overlay`."""
    overlay = task.renderings.get("overlay")
    if overlay is None:
        return None
    options = task.settle(task.options(), card)
    rendered = overlay.render(outputs, source, card, options, PNG)
    return Image.open(BytesIO(rendered.content))


def story_sheet(story: Story, drawn: Image.Image | None) -> Image.Image:
    """Return pixels, first filters, the maps of each stage, the heat and the result, from top to bottom.

    Args:
        story: what to show.
        drawn: the result on the image, for a task without predictions; None: the sheet ends with the heat.
    """
    rows = [_pixel_row(story.subject.frame)]
    if story.first is not None:
        rows.append(_filter_row(story.first))
    rows += [_stage_row(stage, first=not number) for number, stage in enumerate(story.stages)]
    rows.append(_heat_row(story))
    if story.predictions:
        names = [one["label"] for one in story.predictions]
        shares = [one["probability"] for one in story.predictions]
        rows.append(Row([Tile(draw_bars(names, shares))], 1, "Answer", smooth=True))
    elif drawn is not None:
        rows.append(Row([Tile(drawn)], 1, "Answer", widest=400, smooth=True))
    return draw_sheet(f"How {story.model} comes to {story.subject.target.caption}", "", rows)


def _pixel_row(pixels: Frame) -> Row:
    frame = Image.fromarray(pixels)
    width, height = min(MAGNIFIED_SIDE, frame.width), min(MAGNIFIED_SIDE, frame.height)
    left, top = (frame.width - width) // 2, (frame.height - height) // 2
    middle = frame.crop((left, top, left + width, top + height))
    note = f"{frame.width} by {frame.height} pixels, as the network gets them"
    return Row([Tile(frame), Tile(middle)], 2, "Pixels", note, widest=250)


def _filter_row(first: FirstLayer) -> Row:
    images = filter_images(first.weights)[:FILTERS_SHOWN]
    note = f"{len(images)} of {len(first.weights)}: what the first convolution looks for"
    return Row([Tile(image) for image in images], FILTERS_SHOWN, "Filters", note, widest=60)


def _stage_row(stage: StageMaps, *, first: bool) -> Row:
    heading = "Feature maps" if first else ""
    note = "the strongest channels, from edges to parts to things" if first else ""
    tiles = [Tile(colored(one.levels)) for one in stage.maps]
    named = [Tile(tiles[0].image, stage.stage.name), *tiles[1:]]
    return Row(named, MAPS_A_ROW, heading, note)


def _heat_row(story: Story) -> Row:
    source, heat = story.subject.source, story.made.heat
    levels, seen = heat.on_image(source.geometry), source.geometry.seen
    note = "what stands out, whatever for"
    if story.method == "cam":
        note = f"what speaks for {story.subject.target.caption}, place by place"
    tiles = [
        Tile(overlay_heat(source.drawable(), levels, seen), "the heat on the image"),
        Tile(
            heat_image(levels, seen), f"the heat alone, from {story.made.stage or 'the last map'}"
        ),
    ]
    return Row(tiles, 2, "Heat", note, widest=400, smooth=True)


async def _run(explanation: Explanation) -> JobResult[StoryResult | RenderedImage]:
    return await explanation.run_explainer(partial(explain_story, explanation=explanation))


STORY = View(
    name="story",
    summary="all steps from the pixels to the result on one sheet",
    options=frozenset({"class_name", "box"}),
    forms=frozenset({"json", "sheet"}),
    result=StoryResult,
    run=_run,
    needs_stages=True,
)
