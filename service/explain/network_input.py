"""`view=input`: the tensors that the network gets of an image, exactly."""

from functools import partial
from typing import Annotated, Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import InvalidParameterError
from service.explain.array_file import npy
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.request import ExplainRequest
from service.explain.view import View
from service.graph.opening import Opening
from service.heads.boxes import CornersBox, corners
from service.heads.outputs import Outputs
from service.heads.rounding import figure, finite
from service.imaging.heatmap import thumbnail
from service.imaging.overlay import RenderedImage
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult

MOST_CHANNELS = 64
"""Channels of a tensor that are described at most; the array has all."""

TensorName = Literal["frame", "normalized"]


@with_config(ConfigDict(extra="forbid"))
class ChannelNumbers(TypedDict):
    """One channel of a tensor."""

    channel: int
    min: float
    max: float
    mean: float
    deviation: Annotated[float, Field(description="The standard deviation")]
    thumbnail: NotRequired[
        Annotated[
            str,
            Field(
                description="The channel as a PNG in a `data:` URL, its least value black and its largest white; "
                "with `thumbnails`"
            ),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class TensorFigures(TypedDict):
    """One tensor of the image."""

    tensor: Annotated[
        TensorName,
        Field(
            description="`frame`: what the file of the network reads; `normalized`: what its first convolution reads"
        ),
    ]
    dtype: str
    shape: Annotated[list[int], Field(description="With the axis of the batch")]
    layout: Literal["NHWC", "NCHW"]
    channels: list[ChannelNumbers]


@with_config(ConfigDict(extra="forbid"))
class InputResult(TypedDict):
    """The tensors of an image; `width` and `height` are the displayed image's."""

    view: Literal["input"]
    width: int
    height: int
    box: Annotated[
        CornersBox,
        Field(description="The part of the displayed image that they cover; may reach beyond"),
    ]
    tensors: Annotated[
        list[TensorFigures],
        Field(description="`normalized` is there if the network begins with a convolution"),
    ]


def explain_input(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    opening: Opening | None,
    request: ExplainRequest,
) -> InputResult | RenderedImage:
    """Return what is in the tensors, or one of them as an `.npy` file with the axis of the batch.

    Args:
        outputs: holds the tensor that the first convolution reads, (C, H, W).
        frame: uint8 (H, W, 3), the network's input.
        source: the image, and where the frame lies on it.
        opening: the first convolution; None where the network has none.
        request: the tensor, the form, and whether the JSON holds thumbnails.

    Raises:
        InvalidParameterError: the network has no such tensor.
    """
    if request.form == "npy":
        return npy(_chosen(outputs, frame, opening, request.tensor)[None])
    tensors = [_figures("frame", frame.transpose(2, 0, 1), frame, request)]
    if opening is not None:
        values = outputs[opening.input]
        tensors.append(_figures("normalized", values, values, request))
    geometry = source.geometry
    return {
        "view": "input",
        "width": geometry.width,
        "height": geometry.height,
        "box": corners(geometry.region),
        "tensors": tensors,
    }


def _chosen(
    outputs: Outputs, frame: Frame, opening: Opening | None, tensor: TensorName
) -> NDArray[np.generic]:
    if tensor == "frame":
        return frame
    if opening is None:
        raise InvalidParameterError(
            "tensor: no convolution of the network reads the image, so it has no normalized tensor. Take tensor=frame."
        )
    return as_float32(outputs[opening.input])


def as_float32(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a tensor of any precision as float32, which holds every number of a shorter one exactly."""
    return values.astype(np.float32, copy=False)


def _figures(
    name: TensorName,
    planes: NDArray[np.generic],
    stored: NDArray[np.generic],
    request: ExplainRequest,
) -> TensorFigures:
    values = finite(planes)
    channels: list[ChannelNumbers] = []
    for index, plane in enumerate(values[:MOST_CHANNELS]):
        one: ChannelNumbers = {
            "channel": index,
            "min": figure(plane.min()),
            "max": figure(plane.max()),
            "mean": figure(plane.mean()),
            "deviation": figure(plane.std()),
        }
        if request.thumbnails:
            one["thumbnail"] = thumbnail(_gray(plane))
        channels.append(one)
    return {
        "tensor": name,
        "dtype": str(stored.dtype),
        "shape": [1, *stored.shape],
        "layout": "NHWC" if name == "frame" else "NCHW",
        "channels": channels,
    }


def _gray(plane: NDArray[np.float32]) -> Image.Image:
    low, span = plane.min(), np.ptp(plane)
    levels = (plane - low) * (255 / span) if span > 0 else np.zeros_like(plane)
    return Image.fromarray(np.rint(levels).astype(np.uint8))


async def _run(explanation: Explanation) -> JobResult[InputResult | RenderedImage]:
    head = partial(explain_input, opening=explanation.anatomy.opening, request=explanation.request)
    return await explanation.run_explainer(head)


INPUT = View(
    name="input",
    summary="the tensors that the network gets of the image, in numbers or as an array",
    options=frozenset({"tensor", "thumbnails"}),
    forms=frozenset({"json", "npy"}),
    result=InputResult,
    run=_run,
)
