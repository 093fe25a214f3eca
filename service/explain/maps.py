"""`view=maps`: the feature maps of each stage."""

from typing import Any

from PIL import Image

from service.card import Card
from service.explain.heat_map import Heat
from service.explain.request import ExplainRequest
from service.explain.runner import Frame
from service.explain.sheets import map_levels, maps_sheet
from service.explain.stage_maps import StageMaps, stage_maps
from service.heads.boxes import corners
from service.heads.rounding import grid
from service.imaging.heatmap import heat_image, level_thumbnail, overlay_heat
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Outputs


def explain_maps(
    outputs: Outputs, frame: Frame, source: SourceImage, *, card: Card, request: ExplainRequest
) -> dict[str, Any] | RenderedImage:
    """Return the strongest channels of the stages, or the one asked for, in numbers or as an image."""
    stages = [request.stage] if request.stage is not None else card.stages
    found = stage_maps(outputs, stages, count=request.channels, channel=request.channel)
    if request.form == "sheet":
        return encode_image(maps_sheet(card.name, Image.fromarray(frame), found), "png")
    if request.form != "json":
        one = found[0].maps[0]
        warm = Heat(one.values, one.low, one.top).on_image(source.geometry)
        if request.form == "heat":
            return encode_image(heat_image(warm, source.geometry.seen), "png")
        return encode_image(overlay_heat(source.displayed(), warm, source.geometry.seen), "png")

    return {
        "width": source.geometry.width,
        "height": source.geometry.height,
        "box": corners(source.geometry.region),
        "stages": [_figures(stage, request) for stage in found],
    }


def _figures(stage: StageMaps, request: ExplainRequest) -> dict[str, Any]:
    maps: list[dict[str, Any]] = []
    for one in stage.maps:
        figures = one.figures()
        if request.thumbnails:
            figures["thumbnail"] = level_thumbnail(map_levels(one))
        if request.channel is not None:
            figures["values"] = grid(one.values)
        maps.append(figures)
    return {**stage.figures(), "maps": maps}
