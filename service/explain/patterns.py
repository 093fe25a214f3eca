"""`view=patterns`: where in the image one channel fires most, as what it sees there."""

from typing import Any

from service.card import Card
from service.errors import InvalidParameterError
from service.explain.peaks import describe_field, find_peaks
from service.explain.request import ExplainRequest
from service.explain.runner import Frame
from service.explain.sheets import patterns_sheet
from service.explain.stage_maps import stage_maps
from service.graph.anatomy import Anatomy
from service.imaging.heatmap import crop_image, thumbnail
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Outputs

THUMBNAIL_SIDE = 160


def explain_patterns(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    anatomy: Anatomy,
    request: ExplainRequest,
) -> dict[str, Any] | RenderedImage:
    """Return the peaks of a channel and what it sees there; of the middle stage's strongest where none is named.

    Raises:
        InvalidParameterError: the stage does not follow from the image.
    """
    stage = request.stage or card.stages[len(card.stages) // 2]
    field = anatomy.fields.get(stage.tensor)
    if field is None:
        raise InvalidParameterError(f"stage: {stage.name} of {card.name} does not see the image")
    (found,) = stage_maps(outputs, [stage], count=1, channel=request.channel)
    one = found.maps[0]
    geometry = source.geometry
    peaks = find_peaks(one.values, field, geometry, frame.shape[:2], request.count)
    image = source.displayed() if request.form != "json" or request.thumbnails else None
    if request.form != "json" and image is not None:
        return encode_image(patterns_sheet(card.name, image, found, field, peaks), "png")
    told: list[dict[str, Any]] = [peak.figures() for peak in peaks]
    if image is not None:
        for figures, peak in zip(told, peaks, strict=True):
            figures["thumbnail"] = thumbnail(crop_image(image, peak.box, THUMBNAIL_SIDE))
    return {
        "width": geometry.width,
        "height": geometry.height,
        "stage": stage.name,
        "channel": one.channel,
        "receptive_field": describe_field(field),
        "peaks": told,
    }
