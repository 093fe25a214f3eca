"""Explanations as captioned sheets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.explain.filter_images import filter_images
from service.explain.heat_map import Heat
from service.explain.peaks import Peak
from service.explain.stage_maps import ChannelMap, StageMaps
from service.graph.first_layer import FirstLayer
from service.graph.receptive_field import ReceptiveField
from service.heads.rounding import figure
from service.heads.targets import ClassTarget, Target
from service.imaging.charts import Curve, draw_bars, draw_curve
from service.imaging.colormap import colored, levels
from service.imaging.geometry import Geometry
from service.imaging.heatmap import crop_image, heat_image, mark_boxes, overlay_heat
from service.imaging.perturb import LADDERS, Perturbation
from service.imaging.sheet import Row, Tile, draw_sheet

MAPS_A_ROW = 8
FILTERS_A_ROW = 8


def filters_sheet(model: str, weights: NDArray[np.float32], stride: tuple[int, int]) -> Image.Image:
    """Return the contact sheet of a first layer."""
    count, channels, height, width = weights.shape
    subtitle = (
        f"The {count} filters of the first convolution, {height} by {width} over {channels} channel"
        f"{'s' if channels > 1 else ''}, a step of {stride[0]}; mid gray is zero"
    )
    columns = min(count, FILTERS_A_ROW if count <= 64 else 16)
    tiles = [Tile(image, str(index)) for index, image in enumerate(filter_images(weights))]
    return draw_sheet(f"What {model} looks for first", subtitle, [Row(tiles, columns, widest=130)])


def maps_sheet(model: str, image: Image.Image, stages: Sequence[StageMaps]) -> Image.Image:
    """Return the image and a row a stage; of one stage its grid; of one channel its map, beside the image."""
    if len(stages) == 1 and len(stages[0].maps) == 1:
        return _channel_sheet(model, image, stages[0])
    if len(stages) == 1:
        (stage,) = stages
        rows = [Row([map_tile(one) for one in stage.maps], MAPS_A_ROW)]
        return draw_sheet(f"What {model} sees in {stage.stage.name}", _shape(stage), rows)
    rows = [Row([Tile(image)], 1, "the image", widest=340, smooth=True)]
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


def _channel_sheet(model: str, image: Image.Image, stage: StageMaps) -> Image.Image:
    (one,) = stage.maps
    tiles = [Tile(image, "the network's frame"), map_tile(one)]
    title = f"{model}, {stage.stage.name}, channel {one.channel}"
    note = f"{_shape(stage)}; mean {one.mean:.3g}, maximum {one.top:.3g}"
    return draw_sheet(title, note, [Row(tiles, 2)])


def patterns_sheet(
    model: str,
    image: Image.Image,
    stage: StageMaps,
    field: ReceptiveField,
    peaks: Sequence[Peak],
) -> Image.Image:
    """Return the image with the channel's peaks marked, its map, and what it sees at each peak."""
    (one,) = stage.maps
    reach = f"{field.size[0]:g} by {field.size[1]:g}" if field.size else "all of the"
    note = (
        f"{stage.stage.name} of {model}: a place sees {reach} pixels of the frame, "
        f"mostly the middle {max(field.effective):.0f}"
    )
    marked = mark_boxes(image, [peak.box for peak in peaks])
    rows = [Row([Tile(marked, "where it fires most"), map_tile(one)], 2, level=True)]
    if peaks:
        crops = [Tile(crop_image(image, peak.box), f"{peak.value:.3g}") for peak in peaks]
        rows.append(Row(crops, max(5, min(9, len(crops))), "What it sees there", smooth=True))
    return draw_sheet(f"Channel {one.channel} looks for this", note, rows)


def map_tile(one: ChannelMap) -> Tile:
    return Tile(colored(map_levels(one)), f"{one.channel}   max {one.top:.3g}")


def map_levels(one: ChannelMap) -> NDArray[np.uint8]:
    """Return a channel's map as 0–255, cold at zero or at what lies below it."""
    return levels(one.values, one.low, one.top)


def heat_sheet(
    title: str, subtitle: str, figures: str, *, image: Image.Image, heat: Heat, geometry: Geometry
) -> Image.Image:
    """Return the image, the heat over it and the heat alone."""
    warm, seen = heat.on_image(geometry), geometry.seen
    tiles = [
        Tile(image, "the image"),
        Tile(overlay_heat(image, warm, seen), "the heat on it"),
        Tile(heat_image(warm, seen), figures),
    ]
    return draw_sheet(title, subtitle, [Row(tiles, 3, smooth=True)])


def _shape(stage: StageMaps) -> str:
    return (
        f"{stage.stage.channels} channels of {stage.height} by {stage.width}, "
        f"a place every {stage.stage.stride:g} pixels"
    )


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the target's probability in one perturbed copy, uint8 (H, W, 3)."""

    amount: float
    probability: float
    top: str
    kept: bool
    shown: NDArray[np.uint8]

    def figures(self) -> dict[str, Any]:
        return {"amount": self.amount, "probability": figure(self.probability), "top": self.top}


@dataclass(frozen=True, slots=True)
class ProbeSheet:
    """All curves by the perturbation's name, and the silhouette, None where there is none."""

    target: ClassTarget
    curves: Mapping[Perturbation, Sequence[Probed]]
    silhouette: Probed | None


_EXAMPLES: dict[Perturbation, tuple[float, str]] = {
    "rotation": (60, "turned by 60°"),
    "scale": (0.5, "half as large"),
    "blur": (4, "blurred by 4 pixels"),
    "jpeg": (5, "JPEG quality 5"),
    "shuffle": (4, "in 16 patches"),
}


def probe_sheet(
    model: str, frame: NDArray[np.uint8], sheet: ProbeSheet, shape_share: float | None
) -> Image.Image:
    """Return a few of the perturbed copies, and a curve for each perturbation."""
    examples = [Tile(Image.fromarray(frame), f"as it is   {sheet.target.probability:.0%}")]
    for name, (amount, words) in _EXAMPLES.items():
        one = next(probed for probed in sheet.curves[name] if probed.amount == amount)
        examples.append(Tile(Image.fromarray(one.shown), f"{words}   {one.probability:.0%}"))
    if sheet.silhouette is not None:
        side = frame.shape[1], frame.shape[0]
        outline = ImageOps.contain(Image.fromarray(sheet.silhouette.shown), side)
        outline = ImageOps.pad(outline, side, color="white")
        examples.append(Tile(outline, f"its outline   {sheet.silhouette.probability:.0%}"))
    curves = [
        Tile(
            draw_curve(
                Curve(
                    [f"{one.amount:g}" for one in points],
                    [one.probability for one in points],
                    [one.kept for one in points],
                    sheet.target.probability,
                )
            ),
            f"{name}, {LADDERS[name].unit}",
        )
        for name, points in sheet.curves.items()
    ]
    against = "no shape against texture: neither is known alone"
    if shape_share is not None:
        against = f"shape against texture: {shape_share:.0%} to {1 - shape_share:.0%}"
    subtitle = f"{model}; {against}"
    note = "dashed: as it is; a ring: another class is surer"
    rows = [
        Row(examples, len(examples), smooth=True),
        Row(curves, 2, "The probability by degrees", note, smooth=True),
    ]
    return draw_sheet(f"How sure is it of {sheet.target.label}?", subtitle, rows)


@dataclass(frozen=True, slots=True)
class StorySheet:
    """All that a story shows; `predictions` are (label, probability), `answer` what is drawn on the image."""

    model: str
    target: Target
    frame: Image.Image
    image: Image.Image
    first: FirstLayer | None
    stages: Sequence[StageMaps]
    heat: Heat
    stage: str | None
    method: str
    predictions: Sequence[tuple[str, float]]
    answer: Image.Image | None


def story_sheet(story: StorySheet, geometry: Geometry) -> Image.Image:
    """Return pixels, first filters, the maps of each stage, the heat and the answer, from top to bottom."""
    shown = f"{story.frame.width} by {story.frame.height} pixels, as the network gets them"
    rows = [Row([Tile(story.frame), Tile(_magnified(story.frame))], 2, "Pixels", shown, widest=250)]
    if story.first is not None:
        images = filter_images(story.first.weights)[:16]
        count = len(story.first.weights)
        note = f"{len(images)} of {count}: what the first convolution looks for"
        tiles = [Tile(image) for image in images]
        rows.append(Row(tiles, 16, "Filters", note, widest=60))
    for number, stage in enumerate(story.stages):
        heading = "Feature maps" if not number else ""
        note = "the strongest channels, from edges to parts to things" if not number else ""
        tiles = [Tile(colored(map_levels(one))) for one in stage.maps]
        named = [Tile(tiles[0].image, stage.stage.name), *tiles[1:]]
        rows.append(Row(named, MAPS_A_ROW, heading, note))
    warm, seen = story.heat.on_image(geometry), geometry.seen
    heats = [
        Tile(overlay_heat(story.image, warm, seen), "the heat on the image"),
        Tile(heat_image(warm, seen), f"the heat alone, from {story.stage or 'the last map'}"),
    ]
    rows.append(Row(heats, 2, "Heat", story.method, widest=400, smooth=True))
    if story.predictions:
        names, shares = zip(*story.predictions, strict=True)
        rows.append(Row([Tile(draw_bars(names, shares))], 1, "Answer", smooth=True))
    elif story.answer is not None:
        rows.append(Row([Tile(story.answer)], 1, "Answer", widest=400, smooth=True))
    return draw_sheet(f"How {story.model} comes to {story.target.caption}", "", rows)


def _magnified(frame: Image.Image, side: int = 16) -> Image.Image:
    """Return the few pixels in the middle, so that they can be seen as such."""
    left, top = (frame.width - side) // 2, (frame.height - side) // 2
    return frame.crop((left, top, left + side, top + side))
