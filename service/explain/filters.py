"""`view=filters`: the first convolution, which needs no image."""

from typing import Any

from service.errors import InvalidParameterError
from service.explain.filter_images import describe_filters, filter_images
from service.explain.request import ExplainRequest
from service.explain.sheets import filters_sheet
from service.graph.first_layer import FirstLayer
from service.imaging.heatmap import thumbnail
from service.imaging.overlay import RenderedImage, encode_image


def explain_filters(
    name: str, first: FirstLayer | None, request: ExplainRequest
) -> dict[str, Any] | RenderedImage:
    """Return the filters in numbers, or their contact sheet; blocking.

    Raises:
        InvalidParameterError: no convolution of the network reads the image.
    """
    if first is None:
        raise InvalidParameterError(f"view: {name} has no convolution that reads the image")
    if request.form != "json":
        return encode_image(filters_sheet(name, first.weights, first.stride), "png")
    count, channels, height, width = first.weights.shape
    described: list[dict[str, Any]] = [{**one} for one in describe_filters(first.weights)]
    if request.thumbnails:
        for one, image in zip(described, filter_images(first.weights), strict=True):
            one["thumbnail"] = thumbnail(image)
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
