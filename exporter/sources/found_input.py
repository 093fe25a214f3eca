"""The inputs of an ONNX file as it is found: which one is the image, in what form, and what the others are given."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from exporter.errors import RecipeError, SourceError
from exporter.graph import BATCH, copy_of
from exporter.network import Array
from exporter.recipe import Pixels, Recipe
from service.card import ImageInput

Layout = Literal["NCHW", "NHWC"]

_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8}
_CHANNELS = {1, 3}

_WIDTH_HEIGHT = {"orig_target_sizes", "orig_target_size", "orig_size", "orig_sizes"}
_HEIGHT_WIDTH = {"im_shape", "image_shape", "target_sizes", "img_shape"}
_ONES = {"scale_factor", "pixel_mask"}
"""Inputs beside the image that detectors are exported with, by name: RT-DETR's and D-FINE's size as width and height,
PaddleDetection's and YOLOv3's as height and width, and factors or masks that are one for an image that fills the
frame."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The input for the image; `batch` is its size where the file fixes it, else 0. `sides` are the other inputs."""

    name: str
    dtype: int
    layout: Layout
    channels: int
    height: int
    width: int
    batch: int
    sides: tuple[ValueInfoProto, ...] = ()

    @property
    def size(self) -> ImageInput | None:
        """The input size where the file fixes it; images are stretched to it, since the file states no policy."""
        if not self.height or not self.width:
            return None
        return ImageInput(height=self.height, width=self.width, resize="stretch")

    def feed(self, pixels: NDArray[np.float32], image_input: ImageInput) -> dict[str, Array]:
        """Return the inputs of the file for a batch of pixel values."""
        kind = helper.tensor_dtype_to_np_dtype(self.dtype)
        values = np.rint(pixels) if self.dtype == TensorProto.UINT8 else pixels
        feed: dict[str, Array] = {self.name: values.astype(kind)}
        for side in self.sides:
            one = side_value(side, image_input)
            feed[side.name] = np.repeat(one, len(pixels), axis=0)
        return feed


def find_entry(model: ModelProto, stated: Layout | None) -> Entry:
    """Return the image's input.

    Args:
        model: the model.
        stated: the recipe's layout, None where the number of channels decides.

    Raises:
        SourceError: no input, or several, can be the image; or another input is not known.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    images = [one for one in entries if len(one.type.tensor_type.shape.dim) == 4]
    if len(images) != 1 or images[0].type.tensor_type.elem_type not in _TYPES:
        shown = ", ".join(_described(value) for value in entries) or "none"
        raise SourceError(
            "A network must have one input with four axes, a batch of images as float32, float16 or uint8; the inputs "
            f"of this one are {shown}. Export it with a single image input"
        )
    sides = tuple(one for one in entries if one is not images[0])
    for side in sides:
        _require_known(side)
    dims = [dim.dim_value for dim in images[0].type.tensor_type.shape.dim]
    layout = stated or ("NHWC" if dims[3] in _CHANNELS and dims[1] not in _CHANNELS else "NCHW")
    channels = dims[1] if layout == "NCHW" else dims[3]
    if channels and channels not in _CHANNELS:
        other = "NHWC" if layout == "NCHW" else "NCHW"
        hint = (
            f"; is it --layout {other}?"
            if stated and dims[3 if stated == "NCHW" else 1] in _CHANNELS
            else ""
        )
        raise SourceError(
            f"The input {_described(images[0])} has {channels} channels as {layout}; a servable's image has 3, or 1 "
            f"with --color gray{hint}"
        )
    height, width = dims[2:] if layout == "NCHW" else dims[1:3]
    dtype = images[0].type.tensor_type.elem_type
    return Entry(images[0].name, dtype, layout, channels, height, width, dims[0], sides)


def settle_pixels(entry: Entry, recipe: Recipe) -> Pixels:
    """Return the pixel values: what the recipe states, completed by what the input shows.

    An input of bytes reads them as they are. One channel is gray.

    Raises:
        RecipeError: the recipe's color contradicts the number of channels.
    """
    known = Pixels(
        layout=entry.layout,
        scale=1.0 if entry.dtype == TensorProto.UINT8 else Pixels().scale,
        color="gray" if entry.channels == 1 else "rgb",
    )
    pixels = recipe.pixel_values(known)
    if entry.channels and pixels.channels != entry.channels:
        raise RecipeError(
            f"--color {pixels.color}: it has {pixels.channels} channels, and the input {entry.name!r} has "
            f"{entry.channels}"
        )
    return pixels


def settle_size(entry: Entry, recipe: Recipe) -> ImageInput:
    """Return the image input.

    Raises:
        RecipeError: the recipe's size is not the one that the file fixes, or neither states one.
    """
    image_input = recipe.image_input(entry.size)
    for name, fixed in (("height", entry.height), ("width", entry.width)):
        found = getattr(image_input, name)
        if fixed and found != fixed:
            raise RecipeError(
                f"--{name} {found}: the file fixes the {name} of its input {entry.name!r} at {fixed}. Leave the option "
                "out, or export the network again with this size or a dynamic one"
            )
    return image_input


def bind_entry(
    model: ModelProto, entry: Entry, pixels: Pixels, image_input: ImageInput
) -> ModelProto:
    """Return the model with one float32 input of a fixed image size; the other inputs are constants."""
    bound = copy_of(model)
    constants = {tensor.name for tensor in bound.graph.initializer}
    kept = [value for value in bound.graph.input if value.name in constants]
    size = list(pixels.shape(image_input))
    name = entry.name
    if entry.dtype != TensorProto.FLOAT:
        name = f"{entry.name}_float32"
        cast = helper.make_node("Cast", [name], [entry.name], f"cast_{name}", to=entry.dtype)
        bound.graph.node.insert(0, cast)
    image = helper.make_tensor_value_info(name, TensorProto.FLOAT, [entry.batch or BATCH, *size])
    del bound.graph.input[:]
    bound.graph.input.extend([image, *kept])
    bound.graph.initializer.extend(
        numpy_helper.from_array(side_value(side, image_input), side.name) for side in entry.sides
    )
    del bound.graph.value_info[:]
    for value in bound.graph.output:
        value.type.tensor_type.ClearField("shape")
    return bound


def side_value(side: ValueInfoProto, image_input: ImageInput) -> NDArray[Any]:
    """Return what an input beside the image gets for one image, with a batch axis of one."""
    dims = [
        dim.dim_value or size
        for dim, size in zip(
            side.type.tensor_type.shape.dim,
            (1, image_input.height, image_input.width),
            strict=False,
        )
    ]
    kind = helper.tensor_dtype_to_np_dtype(side.type.tensor_type.elem_type)
    if side.name in _ONES:
        size = dims if side.name == "pixel_mask" else [1, 2]
        return np.ones([1, *size[1:]], kind)
    order = (image_input.width, image_input.height)
    return np.array([order if side.name in _WIDTH_HEIGHT else order[::-1]], kind)


def _require_known(side: ValueInfoProto) -> None:
    if side.name not in _WIDTH_HEIGHT | _HEIGHT_WIDTH | _ONES:
        known = ", ".join(sorted(_WIDTH_HEIGHT | _HEIGHT_WIDTH | _ONES))
        raise SourceError(
            f"The network has the input {_described(side)} beside the image, and what it means is not known (known "
            f"are {known}). Export it with a single image input"
        )


def _described(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return f"{value.name} (no tensor)"
    dims = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in tensor.shape.dim)
    return f"{value.name} ({onnx.TensorProto.DataType.Name(tensor.elem_type).lower()}, {dims})"
