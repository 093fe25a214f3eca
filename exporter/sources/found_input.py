"""The inputs of an ONNX file as it is found: which one is the image, in what form, and what the others are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from exporter.errors import RecipeError, SourceError
from exporter.graph import BATCH, copy_of
from exporter.network import Array
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from service.card import ImageInput

Layout = Literal["NCHW", "NHWC"]

_INTEGERS = {TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}
_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, *_INTEGERS}
_WHOLE = {TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8}
_CHANNELS = {1, 3}

_WIDTH_HEIGHT = {"orig_target_sizes", "orig_target_size", "orig_size", "orig_sizes"}
_HEIGHT_WIDTH = {"im_shape", "image_shape", "target_sizes", "img_shape", "im_size", "im_info"}
_ONES = {"scale_factor", "pixel_mask"}
"""Inputs beside the image that detectors are exported with, by name: RT-DETR's and D-FINE's size as width and height,
PaddleDetection's and YOLOv3's as height and width, with a factor behind it in `im_info`, and factors or masks that are
one for an image that fills the frame."""

_PROMPTS = {
    "point_coords", "point_labels", "input_points", "input_labels", "input_boxes", "mask_input",
    "has_mask_input", "image_embeddings", "input_ids", "attention_mask",
}  # fmt: skip
"""Inputs of networks that answer a question about an image: Segment Anything, and those that read text."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The input for the image; `batch` is its size where the file fixes it, else 0.

    `sides` are the other inputs, each the same for every image; `given` are the values that the recipe states for them.
    """

    name: str
    dtype: int
    layout: Layout
    channels: int
    height: int
    width: int
    batch: int
    sides: tuple[ValueInfoProto, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reads_bytes(self) -> bool:
        """Whether the input holds integers, which are then the bytes of the image."""
        return self.dtype in _INTEGERS

    @property
    def size(self) -> ImageInput | None:
        """The input size where the file fixes it; images are stretched to it, since the file states no policy."""
        if not self.height or not self.width:
            return None
        return ImageInput(height=self.height, width=self.width, resize="stretch")

    def feed(self, pixels: NDArray[np.float32], image_input: ImageInput) -> dict[str, Array]:
        """Return the inputs of the file for a batch of pixel values."""
        kind = helper.tensor_dtype_to_np_dtype(self.dtype)
        values = np.rint(pixels) if self.reads_bytes else pixels
        feed: dict[str, Array] = {self.name: values.astype(kind)}
        for side in self.sides:
            one = self.side_value(side, image_input)
            dims = side.type.tensor_type.shape.dim
            is_batch = len(dims) > 0 and not dims[0].dim_value
            feed[side.name] = np.repeat(one, len(pixels), axis=0) if is_batch else one
        return feed

    def side_value(self, side: ValueInfoProto, image_input: ImageInput) -> NDArray[Any]:
        """Return what an input beside the image gets for one image; its first axis is a batch of one, if it has any.

        Raises:
            RecipeError: the value that the recipe states has another shape than the input.
        """
        height, width = image_input.height, image_input.width
        dims = [dim.dim_value for dim in side.type.tensor_type.shape.dim]
        free = [1, 1, height, width] if len(dims) == 4 else [1, height, width]
        shape = [dim or size for dim, size in zip_longest(dims, free[: len(dims)], fillvalue=1)]
        kind = helper.tensor_dtype_to_np_dtype(side.type.tensor_type.elem_type)
        if side.name in self.given:
            return _stated_value(side, self.given[side.name], shape).astype(kind)
        if side.name in _ONES:
            size = shape if side.name == "pixel_mask" else [1, 2]
            return np.ones([1, *size[1:]], kind)
        order = (width, height) if side.name in _WIDTH_HEIGHT else (height, width)
        return np.array([(*order, 1) if side.name == "im_info" else order], kind)


def find_entry(
    model: ModelProto, stated: Layout | None, given: Mapping[str, Any] | None = None
) -> Entry:
    """Return the image's input.

    Args:
        model: the model.
        stated: the recipe's layout, None where the number of channels decides.
        given: the values that the recipe states for inputs beside the image, by name.

    Raises:
        SourceError: no input, or several, can be the image; or another input is not known.
        RecipeError: a value is given for an input that the file does not have.
    """
    given = given or {}
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    _refuse_unknown_names(given, entries)
    images = _images(entries, given)
    if len(images) != 1 or images[0].type.tensor_type.elem_type not in _TYPES:
        raise _no_single_image(entries, images)
    sides = tuple(one for one in entries if one is not images[0])
    for side in sides:
        if side.name not in given:
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
    return Entry(images[0].name, dtype, layout, channels, height, width, dims[0], sides, given)


def settle_pixels(entry: Entry, recipe: Recipe, stated: Pixels | None = None) -> Pixels:
    """Return the pixel values: what the recipe states, completed by what the file states and its input shows.

    An input of bytes reads them as they are. One channel is gray.

    Raises:
        RecipeError: the recipe's color contradicts the number of channels.
    """
    start = stated or Pixels()
    if entry.reads_bytes:
        start = Pixels(scale=1.0, color=start.color)
    color = "gray" if entry.channels == 1 else start.color
    known = start.model_copy(update={"layout": entry.layout, "color": color})
    pixels = recipe.pixel_values(known)
    if entry.channels and pixels.channels != entry.channels:
        reads = (
            "one channel is gray then"
            if entry.channels == 1
            else "the three channels of a gray image are equal then"
        )
        raise RecipeError(
            f"--color {pixels.color}: it has {pixels.channels} channels, and the input {entry.name!r} has "
            f"{entry.channels}. Leave --color out: {reads}"
        )
    return pixels


def settle_size(entry: Entry, recipe: Recipe) -> ImageInput:
    """Return the image input; where neither file nor recipe states a policy, images are stretched to its size.

    Raises:
        RecipeError: the recipe's size is not the one that the file fixes, or neither states one.
    """
    image_input = recipe.image_input(entry.size or stretched_to(recipe, entry.height, entry.width))
    for name, fixed in (("height", entry.height), ("width", entry.width)):
        found = getattr(image_input, name)
        if fixed and found != fixed:
            raise RecipeError(
                f"--{name} {found}: the file fixes the {name} of its input {entry.name!r} at {fixed}. Leave the option "
                "out, or export the network again with this size or a dynamic one"
            )
    return image_input


def stretched_to(recipe: Recipe, height: int | None, width: int | None) -> ImageInput | None:
    """Return a stretch to the recipe's size, for a network that leaves at least one side free.

    None where a side is not known, or the recipe states a crop by its shorter side.
    """
    rows, columns = height or recipe.input.height, width or recipe.input.width
    if not rows or not columns or recipe.input.shorter_side:
        return None
    return ImageInput(height=rows, width=columns, resize="stretch")


def say_free_size(recipe: Recipe, known: ImageInput | None, progress: Progress) -> None:
    """Warn that a stretch to a known size is assumed for a network of any size, where the recipe states no policy."""
    if known is None or recipe.input.resize or recipe.input.shorter_side:
        return
    progress.warn(
        "the file leaves the size of its images free and does not state how they get it: they are stretched to "
        f"{known.height}×{known.width}, as for a file of a fixed size. --resize crop or letterbox states another way"
    )


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
        read = name
        if entry.reads_bytes:  # a cast cuts off what a gray value has beside the whole number
            read = f"{entry.name}_rounded"
            bound.graph.node.insert(0, helper.make_node("Round", [name], [read], f"round_{name}"))
        cast = helper.make_node("Cast", [read], [entry.name], f"cast_{name}", to=entry.dtype)
        bound.graph.node.insert(int(entry.reads_bytes), cast)
    image = helper.make_tensor_value_info(name, TensorProto.FLOAT, [entry.batch or BATCH, *size])
    del bound.graph.input[:]
    bound.graph.input.extend([image, *kept])
    bound.graph.initializer.extend(
        numpy_helper.from_array(entry.side_value(side, image_input), side.name)
        for side in entry.sides
    )
    del bound.graph.value_info[:]
    for value in bound.graph.output:
        value.type.tensor_type.ClearField("shape")
    return bound


def _images(entries: Sequence[ValueInfoProto], given: Mapping[str, Any]) -> list[ValueInfoProto]:
    """Return the inputs that may be the image: four axes, no given value, and no name of another meaning."""
    return [
        one
        for one in entries
        if len(one.type.tensor_type.shape.dim) == 4 and one.name not in {*given, *_ONES}
    ]


def _refuse_unknown_names(given: Mapping[str, Any], entries: Sequence[ValueInfoProto]) -> None:
    names = [one.name for one in entries]
    wrong = next((name for name in given if name not in names), None)
    if wrong is not None:
        raise RecipeError(
            f"--arg {wrong}=…: with onnx: it is the value of an input beside the image, and the file has no input of "
            f"this name; it has {', '.join(names)}"
        )


def _no_single_image(
    entries: Sequence[ValueInfoProto], images: Sequence[ValueInfoProto]
) -> SourceError:
    shown = ", ".join(_described(value) for value in entries) or "none"
    must = (
        "A network must have one input with four axes, a batch of images as float, uint8, int32 or int64; the inputs "
        f"of this one are {shown}"
    )
    if len(images) == 1:
        return SourceError(f"{must}. Export it with one of these types")
    if not images:
        return SourceError(f"{must}. Export it with a single image input")
    return SourceError(
        f"{must}. A request gives a network one image. If all but one of them are the same for every image, give their "
        f"values: {_example(images[1])} (a number fills the shape). Else export the network with a single image input"
    )


def _require_known(side: ValueInfoProto) -> None:
    if side.name in _WIDTH_HEIGHT | _HEIGHT_WIDTH | _ONES:
        return
    what = f"The network has the input {_described(side)} beside the image"
    if side.name in _PROMPTS:
        raise SourceError(
            f"{what}, a prompt. Requests have no prompts: give one that is the same for every image, "
            f"{_example(side)} (a list has the shape of the input), or export the image encoder alone for --task embed"
        )
    raise SourceError(
        f"{what}, and what it means is not known. Give the value that it has for every image, {_example(side)} (a "
        "number fills the shape, a list has it), or export the network with a single image input"
    )


def _example(side: ValueInfoProto) -> str:
    kind = side.type.tensor_type.elem_type
    value = "false" if kind == TensorProto.BOOL else 1 if kind in _WHOLE else 1.0
    return f"--arg {side.name}={value}"


def _stated_value(side: ValueInfoProto, value: object, shape: Sequence[int]) -> NDArray[Any]:
    """Return the recipe's value in the shape of an input; a list may lack the batch axis."""
    words = f"--arg {side.name}={value}"
    try:
        stated = np.asarray(value)
    except ValueError as error:
        raise RecipeError(f"{words}: the rows of the list have different lengths") from error
    if stated.dtype.kind not in "fiub":
        raise RecipeError(f"{words}: write a number, true or false, or a list of numbers")
    if stated.ndim == 0:
        return np.full(shape, stated)
    if stated.ndim == len(shape) - 1:
        stated = stated[None]
    dims = [dim.dim_value for dim in side.type.tensor_type.shape.dim]
    fits = stated.ndim == len(dims) and all(
        not dim or size == dim for size, dim in zip(stated.shape, dims, strict=True)
    )
    if not fits or (dims and not dims[0] and len(stated) != 1):
        raise RecipeError(
            f"{words}: the list has the shape {stated.shape}, the input is {_described(side)}. Give it for one image"
        )
    return stated


def _described(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return f"{value.name} (no tensor)"
    dims = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in tensor.shape.dim)
    kinds = onnx.TensorProto.DataType
    known = tensor.elem_type in kinds.values()
    kind = (
        kinds.Name(tensor.elem_type).lower() if known else f"of the unknown type {tensor.elem_type}"
    )
    return f"{value.name} ({kind}, {dims})"
