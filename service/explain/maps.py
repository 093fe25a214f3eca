"""`view=maps`: the feature maps of each stage."""

from typing import Any

from PIL import Image

from service.card import Card
from service.explain.heat_map import Heat
from service.explain.request import Wish
from service.explain.rounding import corners, grid
from service.explain.runner import Frame
from service.explain.sheets import map_levels, maps_sheet
from service.explain.stage_maps import StageMaps, stage_maps
from service.imaging.heatmap import heat_picture, level_thumbnail, overlay_heat
from service.imaging.overlay import EncodedPicture, encode_picture
from service.imaging.source_image import View
from service.runtime.job import Outputs


def explain_maps(
    outputs: Outputs, frame: Frame, view: View, *, card: Card, wish: Wish
) -> dict[str, Any] | EncodedPicture:
    """Return the strongest channels of the stages, or the one asked for, in numbers or as a picture."""
    stages = [wish.stage] if wish.stage is not None else card.stages
    found = stage_maps(outputs, stages, count=wish.channels, channel=wish.channel)
    if wish.form == "sheet":
        return encode_picture(maps_sheet(card.name, Image.fromarray(frame), found), "png")
    if wish.form != "json":
        one = found[0].maps[0]
        warm = Heat(one.values, one.low, one.top).on_picture(view.geometry)
        if wish.form == "heat":
            return encode_picture(heat_picture(warm, view.geometry.seen), "png")
        return encode_picture(overlay_heat(view.displayed(), warm, view.geometry.seen), "png")

    return {
        "width": view.geometry.width,
        "height": view.geometry.height,
        "box": corners(view.geometry.region),
        "stages": [_figures(stage, wish) for stage in found],
    }


def _figures(stage: StageMaps, wish: Wish) -> dict[str, Any]:
    maps: list[dict[str, Any]] = []
    for one in stage.maps:
        figures = one.figures()
        if wish.thumbnails:
            figures["thumbnail"] = level_thumbnail(map_levels(one))
        if wish.channel is not None:
            figures["values"] = grid(one.values)
        maps.append(figures)
    return {**stage.figures(), "maps": maps}
