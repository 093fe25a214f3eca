"""What an ONNX file states in its metadata, and what the shapes of its outputs show."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from exporter.errors import SourceError
from exporter.external_data import without_weights
from exporter.file_kind import not_onnx
from exporter.guessing.granted import Granted
from exporter.heads.grids import grid_strides
from exporter.labels import onnx_labels
from exporter.onnx_header import onnx_header
from exporter.recipe import Recipe
from exporter.sources.found_input import find_entry, settle_pixels, settle_size
from exporter.sources.onnx_pixels import stated_pixels
from exporter.sources.ultralytics_metadata import named_classes
from service.card import ImageInput

Dims = tuple[int | None, ...]

_SIDES = (640, 320, 416, 512, 608, 960, 1024, 1280)
"""The usual sizes of one-stage detectors, in pixels."""

_MOST_CHANNELS = 4

_END_TO_END_MOST = 1000
"""An end-to-end detector has at most this many rows; each has a box, a score and a class."""


def onnx_options(path: Path) -> Iterator[Granted]:
    """Yield the options that the file answers.

    Raises:
        SourceError: it is no ONNX file, or of a task that Foveal does not serve.
    """
    model = _read(path)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    shaped = _with_shapes(model)
    outputs = [_dims(value) for value in shaped.graph.output]
    if _is_ultralytics(stated):
        yield from _ultralytics(path, stated, outputs, _input_dims(model))
        return
    task = _task_of(shaped) or _on_a_grid(outputs, _input_dims(model))
    if task is not None:
        yield Granted("task", task[0], task[1])
    if named_classes(model) is None and onnx_labels(path) is not None:
        yield Granted("labels", str(path), "the file's metadata")


def fixed_size(path: Path) -> bool:
    """Return whether the file fixes the size of its input."""
    dims = _input_dims(_read(path))
    return len(dims) == 4 and all(dims[1:])


def score_count(path: Path) -> int | None:
    """Return the number of a classifier's scores, where the file fixes it."""
    model = _with_shapes(_read(path))
    outputs = [_dims(value) for value in model.graph.output if not _is_integer(value)]
    return outputs[0][1] if len(outputs) == 1 and len(outputs[0]) == 2 else None


def check_onnx_input(path: Path, recipe: Recipe) -> None:
    """Compare the options about the input with the inputs of the file, whose weights are not needed for that.

    Raises:
        SourceError: the file is no ONNX file, or no input can be the image.
        RecipeError: an option contradicts the file.
    """
    model = _read(path)
    stated = recipe.pixels.model_dump(exclude_unset=True) if recipe.pixels else {}
    entry = find_entry(model, stated.get("layout"), recipe.arguments)
    settle_pixels(entry, recipe, stated_pixels(model))
    settle_size(entry, recipe)


def states_labels(path: Path) -> bool:
    """Return whether the file's metadata names the classes."""
    return onnx_labels(path) is not None


def _ultralytics(
    path: Path, stated: dict[str, str], outputs: list[Dims], entry: Dims
) -> Iterator[Granted]:
    why = f"Ultralytics wrote it into {path.name}"
    task = stated["task"]
    if task not in {"detect", "classify"}:
        raise SourceError(
            f"{path}: its metadata states task {task!r} of Ultralytics, for which Foveal has no head. "
            "detect and classify can be exported"
        )
    yield Granted("task", task, why)
    side = _value(stated.get("imgsz", ""))
    sides = side if isinstance(side, (list, tuple)) and len(side) == 2 else (side, side)
    if all(isinstance(one, int) for one in sides) and not all(entry[2:4]):
        yield Granted("height", sides[0], why)
        yield Granted("width", sides[1], why)
    if task == "classify":
        yield Granted("resize", "crop", "as Ultralytics classifies")
        if isinstance(sides[0], int):
            yield Granted("shorter_side", max(sides), "as Ultralytics classifies")
        return
    is_detr = "rtdetr" in f"{stated.get('head', '')} {stated.get('description', '')}".lower()
    if is_detr:
        yield Granted("resize", "stretch", "as Ultralytics detects with RT-DETR")
        yield Granted("box_unit", "frame", "as Ultralytics' RT-DETR gives boxes")
        yield Granted("box_format", "cxcywh", "as Ultralytics' RT-DETR gives boxes")
    else:
        yield Granted("resize", "letterbox", "as Ultralytics detects")
    decoder = _decoder(outputs, len(_value(stated.get("names", "")) or ()), is_detr=is_detr)
    if decoder is not None:
        yield Granted("decoder", decoder[0], decoder[1])


def _decoder(outputs: list[Dims], classes: int, *, is_detr: bool) -> tuple[str, str] | None:
    dims = outputs[0] if len(outputs) == 1 else ()
    if len(dims) != 3:
        return None
    shape = f"the output is {_shown(dims)} for {classes} classes"
    _, rows, columns = dims
    if is_detr and columns == 4 + classes:
        return "detr", shape
    if rows == 4 + classes:
        return "yolov8", shape
    # Before YOLOv5: with one class both have six columns, and Ultralytics' package exports no objectness.
    if columns == 6 and (rows or 0) <= _END_TO_END_MOST:
        return "end2end", shape
    if columns == 5 + classes:
        return "yolov5", shape
    return None


def _task_of(model: onnx.ModelProto) -> tuple[str, str] | None:
    """Return the task that the shapes of the outputs show, and why."""
    named = {value.name: _dims(value) for value in model.graph.output}
    if (detector := _detector(named) or (_rows(named) if _suppresses(model) else None)) is not None:
        return "detect", detector
    # Class ids beside the scores are what an ArgMax makes of them.
    outputs = [_dims(value) for value in model.graph.output if not _is_integer(value)]
    if len(outputs) == 1 and len(outputs[0]) == 2 and not _suppresses(model):
        return "classify", f"one output {_shown(outputs[0])}, a score for each class"
    if len(outputs) == 1 and len(outputs[0]) == 4 and all(one != 1 for one in outputs[0][2:]):
        return "segment", f"one output {_shown(outputs[0])}, a map for each class"
    return None


def _detector(named: dict[str, Dims]) -> str | None:
    """Return why outputs are those of a detector: boxes and scores, or boxes, scores and classes, in any order."""
    boxes = [name for name, dims in named.items() if len(dims) in {2, 3} and dims[-1] == 4]
    boxes = [name for name in boxes if "box" in name.lower() or "det" in name.lower()] or boxes
    others = {name: dims for name, dims in named.items() if name not in boxes[:1]}
    if not boxes:
        return None
    rows = named[boxes[0]]
    if len(others) == 1 and len(rows) == 3 and all(len(dims) == 3 for dims in others.values()):
        return f"outputs {boxes[0]} {_shown(rows)} and {_listed(others)}, boxes and scores"
    are_flat = all(len(dims) < len(rows) for dims in others.values())
    if are_flat and len(others) in {2, 3} and {_kind(name) for name in others} >= _FINISHED:
        return f"outputs {boxes[0]} {_shown(rows)}, {_listed(others)}: boxes, scores, classes"
    return None


def _rows(named: dict[str, Dims]) -> str | None:
    """Return why outputs behind a suppression are a box, its score and its class in each row."""
    wide = [name for name, dims in named.items() if len(dims) > 1 and dims[-1] in {5, 6, 7}]
    others = {name: dims for name, dims in named.items() if name not in wide[:1]}
    if not wide or any(len(dims) > 2 for dims in others.values()):
        return None
    if named[wide[0]][-1] == _SCORED and "classes" not in {_kind(name) for name in others}:
        return None
    return (
        f"a suppression, and behind it the output {wide[0]} {_shown(named[wide[0]])}: rows of boxes"
    )


_SCORED = 5
"""The values of a box and its score, beside whose rows an output has the classes."""

_FINISHED = {"scores", "classes"}
"""What a detector that has decided for itself gives beside its boxes."""


def _kind(name: str) -> str:
    lower = name.lower()
    if any(word in lower for word in ("label", "class")):
        return "classes"
    return "scores" if "score" in lower else "other"


def _listed(named: dict[str, Dims]) -> str:
    return ", ".join(f"{name} {_shown(dims)}" for name, dims in named.items())


def _is_integer(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in {TensorProto.INT64, TensorProto.INT32}


def _suppresses(model: onnx.ModelProto) -> bool:
    """Return whether the graph contains a suppression, after which rows hold boxes."""
    return any(node.op_type == "NonMaxSuppression" for node in model.graph.node)


def _on_a_grid(outputs: list[Dims], entry: Dims) -> tuple[str, str] | None:
    """Return the task of one output with a box for each cell of grids over the image, and why."""
    if len(outputs) != 1 or len(outputs[0]) != 3:
        return None
    fixed = [one for one in entry[1:] if one is not None and one > _MOST_CHANNELS]
    sizes = [(fixed[0], fixed[1])] if len(fixed) == 2 else [(side, side) for side in _SIDES]
    for height, width in sizes:
        image_input = ImageInput(height=height, width=width, resize="stretch")
        for count in filter(None, outputs[0][1:]):
            if grid_strides(count, image_input) or (
                count % 3 == 0 and grid_strides(count // 3, image_input)
            ):
                why = (
                    f"one output {_shown(outputs[0])}, boxes on a grid over {height}×{width} pixels"
                )
                return "detect", why
    return None


def _is_ultralytics(stated: dict[str, str]) -> bool:
    return {"names", "stride", "task"} <= stated.keys()


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx_header(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError has no public home that is stable
        raise SourceError(not_onnx(path, str(error))) from error
    if not model.graph.node:
        raise SourceError(not_onnx(path, "it has no operators"))
    return model


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the shapes of its outputs for one image, where the file does not state them."""
    if all(len(dims := _dims(value)) > 0 and all(dims[1:]) for value in model.graph.output):
        return model
    light = without_weights(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in light.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and len(dims) > 1:
            dims[0].dim_value = 1
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # noqa: BLE001 - it raises errors of many kinds; the shapes then stay unknown
        return model
    known = all(value.type.tensor_type.HasField("shape") for value in inferred.graph.output)
    return inferred if known else model


def _input_dims(model: onnx.ModelProto) -> Dims:
    constants = {tensor.name for tensor in model.graph.initializer}
    return next((_dims(one) for one in model.graph.input if one.name not in constants), ())


def _dims(value: onnx.ValueInfoProto) -> Dims:
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)


def _shown(dims: Dims) -> str:
    return "(" + ", ".join("N" if one is None else str(one) for one in dims) + ")"


def _value(text: str) -> Any:  # noqa: ANN401 - metadata is Python text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
