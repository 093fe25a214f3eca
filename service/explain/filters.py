"""`view=filters`: the learned filters of the first convolution; needs no image."""

import asyncio
from typing import Annotated, Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import InvalidParameterError
from service.explain.explanation import Explanation
from service.explain.filter_images import filter_images
from service.explain.request import ExplainRequest
from service.explain.view import View
from service.graph.first_layer import FirstLayer
from service.heads.rounding import figure
from service.imaging.heatmap import thumbnail
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.sheet import Row, Tile, draw_sheet
from service.runtime.job import JobResult, Trace

FILTERS_A_ROW, MANY_FILTERS_A_ROW = 8, 16
MANY_FILTERS = 64
WIDEST_TILE = 130
MOST_FILTERS = 512
"""Filters on a sheet at most; the JSON has all."""


@with_config(ConfigDict(extra="forbid"))
class LayerFigures(TypedDict):
    """The first convolution."""

    filters: int
    channels: int
    height: int
    width: int
    stride: Annotated[list[int], Field(description="Down, across")]


@with_config(ConfigDict(extra="forbid"))
class FilterFigures(TypedDict):
    """One filter."""

    filter: int
    norm: Annotated[float, Field(description="Its Euclidean length")]
    color: Annotated[
        float,
        Field(description="The share of its energy that is not gray: 0 reads brightness, 1 color"),
    ]
    thumbnail: NotRequired[
        Annotated[str, Field(description="A PNG in a `data:` URL; with `thumbnails`")]
    ]


@with_config(ConfigDict(extra="forbid"))
class FiltersResult(TypedDict):
    """The learned filters of the first convolution."""

    view: Literal["filters"]
    layer: LayerFigures
    filters: list[FilterFigures]


def describe_filters(weights: NDArray[np.float32]) -> list[FilterFigures]:
    """Return each filter's norm and color.

    Args:
        weights: float32 (F, C, h, w). A filter is gray where its weights are the same in all channels.
    """
    energy = (weights**2).sum(axis=(1, 2, 3))
    gray = (weights.mean(axis=1) ** 2).sum(axis=(1, 2)) * weights.shape[1]
    color = 1 - np.divide(gray, energy, out=np.ones_like(energy), where=energy > 0)
    return [
        {"filter": index, "norm": figure(norm**0.5), "color": figure(max(0.0, share))}
        for index, (norm, share) in enumerate(zip(energy.tolist(), color.tolist(), strict=True))
    ]


def explain_filters(
    name: str, first: FirstLayer | None, request: ExplainRequest
) -> FiltersResult | RenderedImage:
    """Return the filters in numbers, or their contact sheet; blocking.

    Args:
        name: the model's name.
        first: its first convolution; None where it has none.
        request: the form, and whether the JSON holds thumbnails.

    Raises:
        InvalidParameterError: no convolution of the network reads the image.
    """
    if first is None:
        raise InvalidParameterError(f"view: {name} has no convolution that reads the image")
    if request.form != "json":
        return encode_image(filters_sheet(name, first), "png")
    count, channels, height, width = first.weights.shape
    described = describe_filters(first.weights)
    if request.thumbnails:
        for one, image in zip(described, filter_images(first.weights), strict=True):
            one["thumbnail"] = thumbnail(image)
    return {
        "view": "filters",
        "layer": {
            "filters": count,
            "channels": channels,
            "height": height,
            "width": width,
            "stride": list(first.stride),
        },
        "filters": described,
    }


def filters_sheet(model: str, first: FirstLayer) -> Image.Image:
    """Return the contact sheet of a first layer, mode RGB."""
    count, channels, height, width = first.weights.shape
    subtitle = (
        f"The {count} filters of the first convolution, {height} by {width} over {channels} channel"
        f"{'s' if channels > 1 else ''}, a step of {first.stride[0]}; mid gray is zero"
    )
    if count > MOST_FILTERS:
        subtitle = f"The first {MOST_FILTERS} of {subtitle[4:]}"
    columns = min(count, FILTERS_A_ROW if count <= MANY_FILTERS else MANY_FILTERS_A_ROW)
    images = filter_images(first.weights[:MOST_FILTERS])
    tiles = [Tile(image, str(index)) for index, image in enumerate(images)]
    rows = [Row(tiles, columns, widest=WIDEST_TILE)]
    return draw_sheet(f"What {model} looks for first", subtitle, rows)


async def _run(explanation: Explanation) -> JobResult[FiltersResult | RenderedImage]:
    result = await asyncio.to_thread(
        explain_filters, explanation.model.name, explanation.anatomy.first, explanation.request
    )
    return JobResult(result, Trace())


FILTERS = View(
    name="filters",
    summary="the learned filters of the first convolution; needs no image",
    options=frozenset({"thumbnails"}),
    forms=frozenset({"json", "sheet"}),
    result=FiltersResult,
    run=_run,
    needs_image=False,
)
