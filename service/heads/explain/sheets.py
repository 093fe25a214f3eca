"""Explanations as captioned sheets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.heads.explain.filters import filter_pictures
from service.heads.explain.heat import Heat
from service.heads.explain.maps import ChannelMap, StageMaps
from service.imaging.colormap import coloured, levels
from service.imaging.geometry import Geometry
from service.imaging.heatmap import heat_picture, overlay_heat
from service.imaging.sheet import Row, Tile, draw_sheet

MAPS_A_ROW = 8
FILTERS_A_ROW = 8


def filters_sheet(model: str, weights: NDArray[np.float32], stride: tuple[int, int]) -> Image.Image:
    """Return the contact sheet of a first layer."""
    count, channels, height, width = weights.shape
    subtitle = (
        f"The {count} filters of the first convolution, {height} by {width} over {channels} channel"
        f"{'s' if channels > 1 else ''}, a step of {stride[0]}; mid grey is zero"
    )
    columns = min(count, FILTERS_A_ROW if count <= 64 else 16)
    tiles = [Tile(image, str(index)) for index, image in enumerate(filter_pictures(weights))]
    return draw_sheet(f"What {model} looks for first", subtitle, [Row(tiles, columns, widest=130)])


def maps_sheet(model: str, picture: Image.Image, stages: Sequence[StageMaps]) -> Image.Image:
    """Return the picture and a row a stage; of one stage its grid; of one channel its map, beside the picture."""
    if len(stages) == 1 and len(stages[0].maps) == 1:
        return _channel_sheet(model, picture, stages[0])
    if len(stages) == 1:
        (stage,) = stages
        rows = [Row([map_tile(one) for one in stage.maps], MAPS_A_ROW)]
        return draw_sheet(f"What {model} sees in {stage.stage.name}", _shape(stage), rows)
    rows = [Row([Tile(picture)], 1, "the picture", widest=340, smooth=True)]
    rows += [
        Row(
            [map_tile(one) for one in stage.maps[:MAPS_A_ROW]],
            MAPS_A_ROW,
            stage.stage.name,
            _shape(stage),
        )
        for stage in stages
    ]
    return draw_sheet(f"What {model} sees", "The strongest channels of each stage", rows)


def _channel_sheet(model: str, picture: Image.Image, stage: StageMaps) -> Image.Image:
    (one,) = stage.maps
    tiles = [Tile(picture, "the network's frame"), map_tile(one)]
    title = f"{model}, {stage.stage.name}, channel {one.channel}"
    note = f"{_shape(stage)}; mean {one.mean:.3g}, maximum {one.top:.3g}"
    return draw_sheet(title, note, [Row(tiles, 2)])


def map_tile(one: ChannelMap) -> Tile:
    return Tile(coloured(map_levels(one)), f"{one.channel}   max {one.top:.3g}")


def map_levels(one: ChannelMap) -> NDArray[np.uint8]:
    """Return a channel's map as 0–255, cold at zero or at what lies below it."""
    return levels(one.values, one.low, one.top)


def heat_sheet(
    title: str, subtitle: str, figures: str, *, picture: Image.Image, heat: Heat, geometry: Geometry
) -> Image.Image:
    """Return the picture, the heat over it and the heat alone."""
    warm, seen = heat.on_picture(geometry), geometry.seen
    tiles = [
        Tile(picture, "the picture"),
        Tile(overlay_heat(picture, warm, seen), "the heat on it"),
        Tile(heat_picture(warm, seen), figures),
    ]
    return draw_sheet(title, subtitle, [Row(tiles, 3, smooth=True)])


def _shape(stage: StageMaps) -> str:
    return (
        f"{stage.stage.channels} channels of {stage.height} by {stage.width}, "
        f"a place every {stage.stage.stride:g} pixels"
    )
