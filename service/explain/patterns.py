"""`view=patterns`: where in the picture one channel fires most, as what it sees there."""

from typing import Any

from service.card import Card
from service.errors import InvalidParameterError
from service.explain.peaks import describe_field, find_peaks
from service.explain.request import Wish
from service.explain.runner import Frame
from service.explain.sheets import patterns_sheet
from service.explain.stage_maps import stage_maps
from service.graph.dissection import Anatomy
from service.imaging.heatmap import crop_picture, thumbnail
from service.imaging.overlay import EncodedPicture, encode_picture
from service.imaging.source_image import View
from service.runtime.job import Outputs

THUMBNAIL_SIDE = 160


def explain_patterns(
    outputs: Outputs, frame: Frame, view: View, *, card: Card, anatomy: Anatomy, wish: Wish
) -> dict[str, Any] | EncodedPicture:
    """Return the peaks of a channel and what it sees there; of the middle stage's strongest where none is named.

    Raises:
        InvalidParameterError: the stage does not follow from the picture.
    """
    stage = wish.stage or card.stages[len(card.stages) // 2]
    field = anatomy.fields.get(stage.tensor)
    if field is None:
        raise InvalidParameterError(f"stage: {stage.name} of {card.name} does not see the picture")
    (found,) = stage_maps(outputs, [stage], count=1, channel=wish.channel)
    one = found.maps[0]
    geometry = view.geometry
    peaks = find_peaks(one.values, field, geometry, frame.shape[:2], wish.count)
    picture = view.displayed() if wish.form != "json" or wish.thumbnails else None
    if wish.form != "json" and picture is not None:
        return encode_picture(patterns_sheet(card.name, picture, found, field, peaks), "png")
    told: list[dict[str, Any]] = [peak.figures() for peak in peaks]
    if picture is not None:
        for figures, peak in zip(told, peaks, strict=True):
            figures["thumbnail"] = thumbnail(crop_picture(picture, peak.box, THUMBNAIL_SIDE))
    return {
        "width": geometry.width,
        "height": geometry.height,
        "stage": stage.name,
        "channel": one.channel,
        "receptive_field": describe_field(field),
        "peaks": told,
    }
