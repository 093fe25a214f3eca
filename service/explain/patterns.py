"""`view=patterns`: the places of the image where one channel is highest."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Card
from service.errors import InvalidParameterError
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.peaks import FieldFigures, PatternFigures, Peak, field_figures, find_peaks
from service.explain.request import ExplainRequest
from service.explain.sheets import map_tile
from service.explain.stage_maps import StageMaps, stage_maps
from service.explain.view import View
from service.graph.anatomy import Anatomy
from service.graph.receptive_field import ReceptiveField
from service.heads.outputs import Outputs
from service.imaging.geometry import Box
from service.imaging.heatmap import crop_image, mark_boxes, thumbnail
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.sheet import Row, Tile, draw_sheet, fit_size, scale_image
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult

THUMBNAIL_SIDE = 160
"""Pixels of a thumbnail's longer side."""
MARKED_SIDE = 800
"""Pixels of the longer side of the image on a sheet, before its peaks are marked: thin lines on whatever size."""


@with_config(ConfigDict(extra="forbid"))
class PatternsResult(TypedDict):
    """The places where a channel is highest; `width` and `height` are the displayed image's."""

    view: Literal["patterns"]
    width: int
    height: int
    stage: str
    channel: int
    receptive_field: FieldFigures
    peaks: Annotated[list[PatternFigures], Field(description="Highest first")]


def explain_patterns(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    anatomy: Anatomy,
    request: ExplainRequest,
) -> PatternsResult | RenderedImage:
    """Return the peaks of a channel, each with the part of the image that reaches it.

    Without a stage in the request it is the middle one, without a channel the stage's strongest.

    Args:
        outputs: holds the stage's tensor, (C, h, w).
        frame: uint8 (H, W, 3), the network's input.
        source: the image, and where the frame lies on it.
        card: lists the stages.
        anatomy: has the receptive fields of the stages.
        request: stage, channel, number of peaks and form.

    Raises:
        InvalidParameterError: the stage's tensor does not depend on the image.
    """
    stage = request.stage or card.stages[len(card.stages) // 2]
    field = anatomy.fields.get(stage.tensor)
    if field is None:
        raise InvalidParameterError(f"stage: {stage.name} of {card.name} does not see the image")
    (found,) = stage_maps(outputs, [stage], count=1, channel=request.channel)
    one = found.maps[0]
    geometry = source.geometry
    peaks = find_peaks(one.values, field, geometry, frame.shape[:2], request.count)
    if request.form != "json":
        sheet = patterns_sheet(
            card.name,
            source.displayed(),
            found,
            field,
            peaks,
            frame_size=(frame.shape[0], frame.shape[1]),
        )
        return encode_image(sheet, "png")
    return {
        "view": "patterns",
        "width": geometry.width,
        "height": geometry.height,
        "stage": stage.name,
        "channel": one.channel,
        "receptive_field": field_figures(field),
        "peaks": _peak_figures(peaks, source, thumbnails=request.thumbnails),
    }


def patterns_sheet(
    model: str,
    image: Image.Image,
    stage: StageMaps,
    field: ReceptiveField,
    peaks: Sequence[Peak],
    *,
    frame_size: tuple[int, int],
) -> Image.Image:
    """Return the image with the channel's peaks marked, the channel's map, and a crop for each peak.

    `frame_size` is (height, width) of the network's input.
    """
    (one,) = stage.maps
    note = (
        f"{stage.stage.name} of {model}: a place sees {_reach(field, frame_size)}, "
        f"mostly the middle {max(field.effective):.0f}"
    )
    marked = _marked(image, [peak.box for peak in peaks])
    rows = [Row([Tile(marked, "where it fires most"), map_tile(one)], 2, level=True)]
    if peaks:
        crops = [Tile(crop_image(image, peak.box), f"{peak.value:.3g}") for peak in peaks]
        rows.append(Row(crops, max(5, min(9, len(crops))), "What it sees there", smooth=True))
    return draw_sheet(f"Channel {one.channel} looks for this", note, rows)


def _reach(field: ReceptiveField, frame_size: tuple[int, int]) -> str:
    """Return how many pixels of a frame of (height, width) a place depends on; the field counts padding beyond it."""
    height, width = field.size or frame_size
    if height >= frame_size[0] and width >= frame_size[1]:
        return f"all {frame_size[0]} by {frame_size[1]} pixels of the frame"
    return f"{min(height, frame_size[0]):g} by {min(width, frame_size[1]):g} pixels of the frame"


def _marked(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return the image at the size of a sheet, with outlined boxes, xyxy in pixels of the image."""
    shown = scale_image(image, fit_size(image.size, (MARKED_SIDE, MARKED_SIDE)), smooth=False)
    across, down = shown.width / image.width, shown.height / image.height
    scaled = [(x0 * across, y0 * down, x1 * across, y1 * down) for x0, y0, x1, y1 in boxes]
    return mark_boxes(shown, scaled)


def _peak_figures(
    peaks: Sequence[Peak], source: SourceImage, *, thumbnails: bool
) -> list[PatternFigures]:
    described = [peak.figures() for peak in peaks]
    if thumbnails:
        image = source.displayed()
        for figures, peak in zip(described, peaks, strict=True):
            figures["thumbnail"] = thumbnail(crop_image(image, peak.box, THUMBNAIL_SIDE))
    return described


async def _run(explanation: Explanation) -> JobResult[PatternsResult | RenderedImage]:
    head = partial(
        explain_patterns,
        card=explanation.card,
        anatomy=explanation.anatomy,
        request=explanation.request,
    )
    return await explanation.run_explainer(head)


PATTERNS = View(
    name="patterns",
    summary="where in the image a channel is highest, and what part of the image it sees there",
    options=frozenset({"stage", "channel", "count", "thumbnails"}),
    forms=frozenset({"json", "sheet"}),
    result=PatternsResult,
    run=_run,
    needs_stages=True,
)
