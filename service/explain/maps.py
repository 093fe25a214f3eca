"""`view=maps`: the feature maps of each stage."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Card
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.heat_map import Heat
from service.explain.request import ExplainRequest
from service.explain.sheets import MAPS_A_ROW, map_tile
from service.explain.stage_maps import ChannelFigures, StageFigures, StageMaps, stage_maps
from service.explain.view import View
from service.heads.boxes import CornersBox, corners
from service.heads.outputs import Outputs
from service.heads.rounding import grid
from service.imaging.heatmap import heat_image, level_thumbnail, overlay_heat
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.sheet import Row, Tile, draw_sheet
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult


@with_config(ConfigDict(extra="forbid"))
class MapsResult(TypedDict):
    """The strongest feature maps of each stage; `width` and `height` are the displayed image's."""

    view: Literal["maps"]
    width: int
    height: int
    box: Annotated[
        CornersBox,
        Field(
            description="The part of the displayed image that every map covers; may reach beyond"
        ),
    ]
    stages: list[StageFigures]


def explain_maps(
    outputs: Outputs, frame: Frame, source: SourceImage, *, card: Card, request: ExplainRequest
) -> MapsResult | RenderedImage:
    """Return the strongest channels of each stage, or of the one that the request names, or one channel.

    Args:
        outputs: holds each stage's tensor, (C, h, w).
        frame: uint8 (H, W, 3), the network's input.
        source: the image, and where the frame lies on it.
        card: lists the stages.
        request: stage, channel, number of channels and form.
    """
    stages = [request.stage] if request.stage is not None else card.stages
    found = stage_maps(outputs, stages, count=request.channels, channel=request.channel)
    if request.form == "json":
        return {
            "view": "maps",
            "width": source.geometry.width,
            "height": source.geometry.height,
            "box": corners(source.geometry.region),
            "stages": [_stage_figures(stage, request) for stage in found],
        }
    return encode_image(_drawn(found, frame, source, card=card, request=request), "png")


def maps_sheet(model: str, frame: Image.Image, stages: Sequence[StageMaps]) -> Image.Image:
    """Return the frame and a row for each stage; the grid of a single stage; the frame and a single channel."""
    if len(stages) == 1 and len(stages[0].maps) == 1:
        return _channel_sheet(model, frame, stages[0])
    if len(stages) == 1:
        (stage,) = stages
        rows = [Row([map_tile(one) for one in stage.maps], MAPS_A_ROW)]
        return draw_sheet(f"What {model} sees in {stage.stage.name}", stage.caption, rows)
    rows = [Row([Tile(frame)], 1, "the image", widest=340, smooth=True)]
    rows += [
        Row(
            [map_tile(one) for one in stage.maps[:MAPS_A_ROW]],
            MAPS_A_ROW,
            stage.stage.name,
            stage.caption,
        )
        for stage in stages
    ]
    return draw_sheet(f"What {model} sees", "The strongest channels of each stage", rows)


def _channel_sheet(model: str, frame: Image.Image, stage: StageMaps) -> Image.Image:
    (one,) = stage.maps
    tiles = [Tile(frame, "the network's frame"), map_tile(one)]
    title = f"{model}, {stage.stage.name}, channel {one.channel}"
    note = f"{stage.caption}; mean {one.mean:.3g}, maximum {one.top:.3g}"
    return draw_sheet(title, note, [Row(tiles, 2)])


def _drawn(
    found: Sequence[StageMaps],
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    request: ExplainRequest,
) -> Image.Image:
    if request.form == "sheet":
        return maps_sheet(card.name, Image.fromarray(frame), found)
    one = found[0].maps[0]
    levels = Heat(one.values, one.low, one.top).on_image(source.geometry)
    if request.form == "heat":
        return heat_image(levels, source.geometry.seen)
    return overlay_heat(source.drawable(), levels, source.geometry.seen)


def _stage_figures(stage: StageMaps, request: ExplainRequest) -> StageFigures:
    maps: list[ChannelFigures] = []
    for one in stage.maps:
        figures = one.figures()
        if request.thumbnails:
            figures["thumbnail"] = level_thumbnail(one.levels)
        if request.channel is not None:
            figures["values"] = grid(one.values)
        maps.append(figures)
    return stage.figures(maps)


async def _run(explanation: Explanation) -> JobResult[MapsResult | RenderedImage]:
    head = partial(explain_maps, card=explanation.card, request=explanation.request)
    return await explanation.run_explainer(head)


MAPS = View(
    name="maps",
    summary="the feature maps of each stage",
    options=frozenset({"stage", "channel", "channels", "thumbnails"}),
    forms=frozenset({"json", "sheet", "overlay", "heat"}),
    result=MapsResult,
    run=_run,
    needs_stages=True,
)
