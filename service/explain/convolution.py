"""`view=convolution`: one cell of the first convolution's map, multiplied out: from pixels to one number."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import InvalidParameterError
from service.explain.array_file import npy, npy_url
from service.explain.explanation import Explanation
from service.explain.filter_images import filter_images
from service.explain.frame import Frame
from service.explain.network_input import as_float32
from service.explain.request import ExplainRequest
from service.explain.steps import CellValue, StepFigures, exact, follow_steps
from service.explain.view import View
from service.graph.activations import Activation
from service.graph.opening import Opening
from service.heads.boxes import CornersBox, corners
from service.heads.outputs import Outputs
from service.heads.rounding import figure, finite
from service.imaging.colormap import levels
from service.imaging.geometry import Geometry
from service.imaging.heatmap import level_thumbnail, thumbnail
from service.imaging.overlay import RenderedImage
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult

MOST_WEIGHTS = 4096
"""Weights of a filter that are multiplied out at most."""
THUMBNAIL_SIDE = 80
"""The thumbnail of a map has fewer than twice so many pixels along its longer side."""

MOST_NUMBERS = 4 << 20
"""Numbers of the arrays in one JSON at most."""

Grid = NDArray[np.float32]


@with_config(ConfigDict(extra="forbid"))
class ConvolutionFigures(TypedDict):
    """The first convolution. Pairs are down and across."""

    filters: int
    channels: Annotated[int, Field(description="That a filter reads")]
    height: int
    width: int
    stride: list[int]
    dilation: list[int]
    input: Annotated[list[int], Field(description="Channels, height and width of what it reads")]
    map: Annotated[list[int], Field(description="Height and width of a map")]


@with_config(ConfigDict(extra="forbid"))
class FilterMapFigures(TypedDict):
    """A filter and its map, after the activation if that comes first."""

    filter: int
    max: float
    deviation: Annotated[float, Field(description="The standard deviation over the cells")]
    filter_thumbnail: NotRequired[
        Annotated[str, Field(description="A PNG in a `data:` URL; with `thumbnails`")]
    ]
    map_thumbnail: NotRequired[
        Annotated[str, Field(description="A PNG in a `data:` URL; with `thumbnails`")]
    ]


@with_config(ConfigDict(extra="forbid"))
class PatchFigures(TypedDict):
    """The part of the convolution's input that lies under the filter; grids are [channel][row][column]."""

    row: Annotated[int, Field(description="Of its first number in the input; negative in padding")]
    column: Annotated[int, Field(description="The same")]
    first_channel: int
    box: Annotated[CornersBox, Field(description="In pixels of the image as displayed")]
    values: Annotated[list[list[list[float]]], Field(description="0 in padding")]
    padding: Annotated[list[list[bool]], Field(description="By rows: whether it is padding")]


@with_config(ConfigDict(extra="forbid"))
class ArrayFiles(TypedDict):
    """Arrays as `data:` URLs of files of NumPy."""

    frame: Annotated[str, Field(description="That of `view=input`, uint8 (1, H, W, 3)")]
    normalized: Annotated[str, Field(description="That of `view=input`, float32 (1, C, H, W)")]
    map: Annotated[str, Field(description="The map of the filter, float32 (h, w)")]


@with_config(ConfigDict(extra="forbid"))
class ConvolutionResult(TypedDict):
    """One cell of a map, multiplied out; `width` and `height` are the displayed image's."""

    view: Literal["convolution"]
    width: int
    height: int
    box: Annotated[
        CornersBox,
        Field(description="The part of the displayed image that a map covers; may reach beyond"),
    ]
    layer: ConvolutionFigures
    filters: Annotated[list[FilterMapFigures], Field(description="The strongest first")]
    filter: int
    row: int
    column: int
    patch: PatchFigures
    weights: Annotated[
        list[list[list[float]]],
        Field(description="[channel][row][column], a batch normalization that follows folded in"),
    ]
    products: list[list[list[float]]]
    bias: float
    sum: Annotated[CellValue, Field(description="Of the products and the bias")]
    steps: Annotated[
        list[StepFigures], Field(description="What follows: an activation, a pooling, or both")
    ]
    arrays: NotRequired[Annotated[ArrayFiles, Field(description="With `arrays`")]]


def explain_convolution(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    opening: Opening,
    request: ExplainRequest,
) -> ConvolutionResult | RenderedImage:
    """Return one cell, multiplied out, or the whole map of its filter as an `.npy` file, float32 (h, w).

    Without a filter in the request it is the one with the strongest map, without a place the map's highest cell.

    Args:
        outputs: holds the tensors of the opening, (C, H, W).
        frame: uint8 (H, W, 3), the network's input.
        source: the image, and where the frame lies on it.
        opening: the first convolution and what follows it.
        request: filter, row, column, how many filters are listed, and the form.

    Raises:
        InvalidParameterError: there is no such filter or cell, or the arrays are too large for JSON.
    """
    maps = finite(outputs[_shown(opening)])
    deviations = maps.reshape(len(maps), -1).std(axis=1)
    index = int(deviations.argmax()) if request.filter is None else request.filter
    if request.form == "npy":
        return npy(maps[index])
    place = _place(request, maps[index])
    listed = np.argsort(-deviations, kind="stable")[: request.channels].tolist()
    geometry = source.geometry
    values = finite(outputs[opening.input])
    patch = _patch(values, opening, index, place, maps.shape[1:])
    weights = opening.weights[index]
    products = patch.numbers.astype(np.float64) * weights
    total = float(products.sum()) + float(opening.bias[index])
    result: ConvolutionResult = {
        "view": "convolution",
        "width": geometry.width,
        "height": geometry.height,
        "box": corners(geometry.region),
        "layer": _layer_figures(opening, values.shape, maps.shape),
        "filters": _filter_figures(listed, maps, deviations, opening, request),
        "filter": index,
        "row": place[0],
        "column": place[1],
        "patch": patch.figures(geometry),
        "weights": _grids(weights),
        "products": _grids(products),
        "bias": exact(opening.bias[index]),
        "sum": {"value": exact(total), "network": exact(outputs[opening.output][(index, *place)])},
        "steps": follow_steps(opening.steps, outputs, opening.output, (index, *place), total),
    }
    if request.arrays:
        result["arrays"] = _arrays(frame, outputs[opening.input], maps[index])
    return result


def _arrays(frame: Frame, normalized: NDArray[np.generic], cells: Grid) -> ArrayFiles:
    numbers = frame.size + normalized.size + cells.size
    if numbers > MOST_NUMBERS:
        raise InvalidParameterError(
            f"arrays: they have {numbers} numbers, and JSON holds at most {MOST_NUMBERS}. Take format=npy, and "
            "view=input&format=npy."
        )
    return {
        "frame": npy_url(frame[None]),
        "normalized": npy_url(as_float32(normalized)[None]),
        "map": npy_url(cells),
    }


def _shown(opening: Opening) -> str:
    """Return the tensor of the maps: after the activation where it comes first, else the sums."""
    first = opening.steps[0] if opening.steps else None
    return first.tensor if isinstance(first, Activation) else opening.output


def _place(request: ExplainRequest, cells: Grid) -> tuple[int, int]:
    row, column = _highest(cells)
    wanted = {"row": request.row, "column": request.column}
    for (axis, value), size in zip(wanted.items(), cells.shape, strict=True):
        if value is not None and value >= size:
            raise InvalidParameterError(
                f"{axis}: the map has the {axis}s 0 to {size - 1}, not {value}"
            )
    return row if request.row is None else request.row, (
        column if request.column is None else request.column
    )


def _highest(cells: Grid) -> tuple[int, int]:
    """Return the highest cell; of several, as at the top of a ReLU6, the one nearest to the middle."""
    rows, columns = np.nonzero(cells == cells.max())
    height, width = cells.shape
    away = (rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2
    nearest = int(away.argmin())
    return int(rows[nearest]), int(columns[nearest])


@dataclass(frozen=True, slots=True)
class _Patch:
    """What lies under a filter: `values` float32 (C, H, W) is all that the filter reads, `start` its first channel."""

    values: Grid
    start: int
    rows: range
    columns: range

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Which of its numbers lie outside of the input, bool (h, w)."""
        _, height, width = self.values.shape
        down, across = np.array([*self.rows]), np.array([*self.columns])
        inside = np.outer((down >= 0) & (down < height), (across >= 0) & (across < width))
        return ~inside

    @property
    def numbers(self) -> Grid:
        """Its numbers, float32 (C, h, w), 0 in padding."""
        _, height, width = self.values.shape
        down = np.clip(np.array([*self.rows]), 0, height - 1)
        across = np.clip(np.array([*self.columns]), 0, width - 1)
        read = self.values[:, down[:, None], across[None, :]]
        return np.where(self.padding, np.float32(0), read)

    def figures(self, geometry: Geometry) -> PatchFigures:
        """Return the patch as JSON; `geometry` is where the frame lies on the image."""
        _, height, width = self.values.shape
        sides = [
            self.columns.start / width,
            self.rows.start / height,
            (self.columns[-1] + 1) / width,
            (self.rows[-1] + 1) / height,
        ]
        inside = np.clip(np.array([sides], np.float32), 0, 1)
        x0, y0, x1, y1 = geometry.boxes_on_image(inside)[0].tolist()
        return {
            "row": self.rows.start,
            "column": self.columns.start,
            "first_channel": self.start,
            "box": corners((x0, y0, x1, y1)),
            "values": _grids(self.numbers),
            "padding": self.padding.tolist(),
        }


def _patch(
    values: Grid, opening: Opening, index: int, place: tuple[int, int], made: tuple[int, ...]
) -> _Patch:
    channels = opening.channels_of(index)
    rows, columns = opening.window.taps(place, values.shape[1:], made)
    return _Patch(values[channels], channels.start, rows, columns)


def _layer_figures(
    opening: Opening, read: tuple[int, ...], made: tuple[int, ...]
) -> ConvolutionFigures:
    count, channels, height, width = opening.weights.shape
    return {
        "filters": count,
        "channels": channels,
        "height": height,
        "width": width,
        "stride": list(opening.window.stride),
        "dilation": list(opening.window.dilation),
        "input": list(read),
        "map": list(made[1:]),
    }


def _filter_figures(
    listed: list[int],
    maps: Grid,
    deviations: Grid,
    opening: Opening,
    request: ExplainRequest,
) -> list[FilterMapFigures]:
    described: list[FilterMapFigures] = [
        {
            "filter": index,
            "max": figure(maps[index].max()),
            "deviation": figure(deviations[index]),
        }
        for index in listed
    ]
    if request.thumbnails:
        images = filter_images(opening.weights[listed])
        for one, image in zip(described, images, strict=True):
            cells = maps[one["filter"]]
            one["filter_thumbnail"] = thumbnail(image)
            one["map_thumbnail"] = _map_thumbnail(cells)
    return described


def _map_thumbnail(cells: Grid) -> str:
    """Return a map in heat colors; one with many cells is reduced by means."""
    image = Image.fromarray(cells)
    factor = max(1, max(image.size) // THUMBNAIL_SIDE)
    small = np.asarray(image.reduce(factor))
    return level_thumbnail(levels(small, min(0.0, float(small.min())), float(small.max())))


def _grids(values: NDArray[np.floating]) -> list[list[list[float]]]:
    return [[[exact(number) for number in row] for row in plane] for plane in values.tolist()]


def usable(opening: Opening | None, name: str, wanted: int | None) -> Opening:
    """Return the opening of a model if its filters are multiplied out, and if it has the wanted one.

    Raises:
        InvalidParameterError: it is not so.
    """
    if opening is None:
        raise InvalidParameterError(
            f"view: {name} has no two-dimensional convolution with fixed weights that reads the image"
        )
    count, weights = len(opening.weights), opening.weights[0].size
    if weights > MOST_WEIGHTS:
        raise InvalidParameterError(
            f"view: a filter of {name} has {weights} weights, and at most {MOST_WEIGHTS} are multiplied out"
        )
    if wanted is not None and wanted >= count:
        raise InvalidParameterError(
            f"filter: {name} has the filters 0 to {count - 1}, not {wanted}"
        )
    return opening


async def _run(explanation: Explanation) -> JobResult[ConvolutionResult | RenderedImage]:
    request = explanation.request
    opening = usable(explanation.anatomy.opening, explanation.card.name, request.filter)
    return await explanation.run_explainer(
        partial(explain_convolution, opening=opening, request=request)
    )


CONVOLUTION = View(
    name="convolution",
    summary="one cell of the first convolution's map, multiplied out from the numbers under the filter",
    options=frozenset({"filter", "row", "column", "channels", "thumbnails", "arrays"}),
    forms=frozenset({"json", "npy"}),
    result=ConvolutionResult,
    run=_run,
)
