"""`view=filters`: the first convolution, which needs no picture."""

from typing import Any

from service.errors import InvalidParameterError
from service.explain.filter_images import describe_filters, filter_pictures
from service.explain.request import Wish
from service.explain.sheets import filters_sheet
from service.graph.first_layer import FirstLayer
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
