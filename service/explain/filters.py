"""`view=filters`: the first convolution, which needs no picture."""

from typing import Any

from service.anatomy.filters import FirstLayer
from service.errors import InvalidParameterError
from service.explain.wish import Wish
from service.heads.explain.filters import describe_filters, filter_pictures
from service.heads.explain.sheets import filters_sheet
from service.imaging.heatmap import thumbnail
from service.imaging.overlay import EncodedPicture, encode_picture


def explain_filters(
    name: str, first: FirstLayer | None, wish: Wish
) -> dict[str, Any] | EncodedPicture:
    """Return the filters in numbers, or their contact sheet; blocking.

    Raises:
        InvalidParameterError: no convolution of the network reads the picture.
    """
    if first is None:
        raise InvalidParameterError(f"view: {name} has no convolution that reads the picture")
    if wish.form != "json":
        return encode_picture(filters_sheet(name, first.weights, first.stride), "png")
    count, channels, height, width = first.weights.shape
    described: list[dict[str, Any]] = [{**one} for one in describe_filters(first.weights)]
    if wish.thumbnails:
        for one, picture in zip(described, filter_pictures(first.weights), strict=True):
            one["thumbnail"] = thumbnail(picture)
    return {
        "layer": {
            "filters": count,
            "channels": channels,
            "height": height,
            "width": width,
            "stride": list(first.stride),
        },
        "filters": described,
    }
