"""The outputs of an ONNX file as it is found: which ones a task reads, in what order, and in what form they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto

from exporter.counted_tensors import counted_tensors
from exporter.errors import GraphError, RecipeError
from exporter.graph import Graph, integers
from exporter.heads.one_output import is_detection_output
from exporter.map_forms import map_form
from exporter.network import Array
from exporter.recipe import Recipe
from exporter.shapes import Shape
from service.card import ImageInput

Form = Literal[
    "plain", "channels_last", "vector", "swapped", "one_class", "rows", "list", "inner_list", "map"
]
"""`channels_last` maps (N, h, w, C) become (N, C, h, w), and a `map` (N, h, w) of one class (N, 1, h, w); `vector`
scores (N, 1, 1, K) become (N, K); `swapped` scores (N, K, A) become (N, A, K), and `one_class` scores (N, A) become
(N, A, 1). `rows` (M, …), `list` (N, M, …) and `inner_list` (N, 1, M, …) have as many detections as the network finds:
they are filled up with zeros to a fixed number, and rows get a batch axis."""

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}

_ROW_AXIS = {"rows": 1, "list": 1, "inner_list": 2}
"""The axis of the detections, once there is one of the batch."""

_LAST: dict[str, tuple[int, ...]] = {"vector": (), "one_class": (1,)}
"""The axes behind the scores, once they are arranged."""


@dataclass(frozen=True, slots=True)
class RawOutput:
    """An output of the file, and the form in which it has it; `dims` are those after the change of form.

    Those that hold class ids alone, `is_ids`, stay integers.
    """

    name: str
    form: Form
    dims: tuple[int, ...]
    dtype: int
    is_ids: bool = False

    def graft(self, graph: Graph) -> str:
        """Add the nodes that change the form, and return their tensor; numbers and booleans become float32."""
        tensor = self.name
        is_float = self.dtype in _FLOATS
        if self.dtype != TensorProto.FLOAT and (is_float or not self.is_ids):
            tensor = graph.add("Cast", [tensor], to=TensorProto.FLOAT)
        match self.form:
            case "channels_last" | "swapped":
                perm = [0, 3, 1, 2] if self.form == "channels_last" else [0, 2, 1]
                return graph.add("Transpose", [tensor], perm=perm)
            case "map":
                return graph.add("Unsqueeze", [tensor, graph.constant("map", integers(1))])
            case "vector" | "one_class" as form:
                sizes = integers(0, -1, *_LAST[form])
                return graph.add("Reshape", [tensor, graph.constant(form, sizes)])
            case "rows":
                axis = graph.constant("batch_axis", integers(0))
                return self._graft_filled(graph, graph.add("Unsqueeze", [tensor, axis]))
            case "list" | "inner_list":
                return self._graft_filled(graph, tensor)
        return tensor

    def _graft_filled(self, graph: Graph, tensor: str) -> str:
        """Append zeros along the axis of the detections, and keep as many of them as `dims` says."""
        if self.is_ids and self.dtype not in _FLOATS:
            tensor = graph.add("Cast", [tensor], to=TensorProto.FLOAT)
        axis = _ROW_AXIS[self.form]
        pads = [0] * (2 * len(self.dims))
        pads[len(self.dims) + axis] = self.dims[axis]
        padded = graph.add("Pad", [tensor, graph.constant("pads", integers(*pads))])
        bounds = [graph.constant("bound", integers(n)) for n in (0, self.dims[axis], axis)]
        return graph.add("Slice", [padded, *bounds])

    def apply(self, value: Array) -> Array:
        """Return an output of the file in the form that `graft` gives it."""
        if value.dtype.kind == "f" or value.dtype.name == "bfloat16" or not self.is_ids:
            value = value.astype(np.float32)
        match self.form:
            case "channels_last":
                return value.transpose(0, 3, 1, 2)
            case "swapped":
                return value.transpose(0, 2, 1)
            case "map":
                return value[:, None]
            case "vector" | "one_class" as form:
                return value.reshape(len(value), -1, *_LAST[form])
            case "rows" | "list" | "inner_list":
                axis = _ROW_AXIS[self.form]
                rows = value[None] if self.form == "rows" else value
                rows = np.moveaxis(rows.astype(np.float32), axis, 0)[: self.dims[axis]]
                filled = np.zeros((self.dims[axis], *rows.shape[1:]), np.float32)
                filled[: len(rows)] = rows
                return np.moveaxis(filled, 0, axis)
        return value


def read_outputs(
    model: ModelProto,
    names: Sequence[str],
    shapes: Mapping[str, Shape],
    recipe: Recipe,
    image_input: ImageInput,
) -> list[RawOutput]:
    """Return the outputs that the task may read, for a batch of one.

    Raises:
        GraphError: the size of one depends on the image, or its first axis is not the batch.
    """
    counted = counted_tensors(model)
    # Where one image has one detection, (1, 6) is a row, unless another output is a list (1, M, 4).
    has_batch = any(len(shapes[one].dims) > 2 for one in names if one in counted & shapes.keys())
    found = []
    for name in names:
        shape = shapes.get(name)
        if shape is None:
            continue
        if name in counted and recipe.task == "detect":
            form: Form | None = _counted_form(shape.dims, has_batch=has_batch)
        else:
            form = _form(shape.dims, recipe, image_input, is_counted=name in counted)
        if form is not None:
            dims = _changed(shape.dims, form, recipe.detect.candidates)
            found.append(RawOutput(name, form, dims, shape.dtype))
    if any(len(one.dims) == 4 and one.form != "map" for one in found):
        found = [one for one in found if one.form != "map"]
    if not found:
        listed = ", ".join(
            f"{name} {shapes[name].dims if name in shapes else '(no tensor)'}" for name in names
        )
        raise GraphError(
            f"No output can be used for --task {recipe.task}: for one image they are {listed}. The first axis must be "
            "the batch, and all sizes must be the same for every image: export the network so, or name a tensor inside "
            "its graph that is so with --outputs"
        )
    return found


def _form(
    dims: tuple[int, ...], recipe: Recipe, image_input: ImageInput, *, is_counted: bool
) -> Form | None:
    if not dims or dims[0] != 1 or (is_counted and recipe.task == "segment"):
        return None
    if (
        recipe.task in {"segment", "embed"}
        and (form := map_form(dims, recipe, image_input)) != "plain"
    ):
        return form
    if recipe.task == "classify" and len(dims) > 2 and set(dims[1:-1]) == {1}:
        return "vector"
    return "plain"


def _counted_form(dims: tuple[int, ...], *, has_batch: bool) -> Form:
    if is_detection_output(dims):
        return "inner_list"
    return "list" if has_batch and len(dims) > 1 and dims[0] == 1 else "rows"


def _changed(dims: tuple[int, ...], form: Form, most: int) -> tuple[int, ...]:
    match form:
        case "channels_last":
            return (dims[0], dims[3], dims[1], dims[2])
        case "vector":
            return (dims[0], dims[-1])
        case "map":
            return (dims[0], 1, *dims[1:])
        case "rows":
            return (1, most, *dims[1:])
        case "list" | "inner_list":
            axis = _ROW_AXIS[form]
            return (*dims[:axis], most, *dims[axis + 1 :])
    return dims


def require_outputs(recipe: Recipe, model: ModelProto) -> tuple[str, ...]:
    """Return the names of the outputs that the recipe states, else of all.

    Raises:
        RecipeError: there is no such tensor.
    """
    known = tuple(value.name for value in model.graph.output)
    names = recipe.outputs or known
    made = {name for node in model.graph.node for name in node.output} | set(known)
    absent = [name for name in names if name not in made]
    if absent:
        raise RecipeError(
            f"--outputs {', '.join(sorted(absent))}: no tensor of the graph has this name. The graph's outputs are "
            f"{', '.join(known)}; a tensor inside it may be named too"
        )
    return tuple(dict.fromkeys(names))
