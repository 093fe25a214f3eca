"""The lists of the steps that read a detector: no step is forgotten, and none stands where it can say nothing."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import exporter.heads
from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import (
    Boxes,
    Changes,
    RawValues,
    ShapeReading,
    Shapes,
    ShapeStep,
    Step,
    settled_by,
)
from exporter.heads.detector_steps import (
    BY_BOXES,
    BY_CHANGES,
    BY_LABELS,
    BY_ROWS,
    BY_SCORES,
    BY_SHAPES,
    OF_A_READING,
)
from exporter.heads.raw_tensor import Dims, Tensor
from exporter.heads.select_head import select_head
from exporter.network import Array
from exporter.recipe import make_recipe
from service.card import ImageInput
from tests.exporter.heads.dense import as_form, dense_boxes, grid_cells, relative_to_cells

SIZE = (128, 160)
FRAME = ImageInput(height=SIZE[0], width=SIZE[1], resize="stretch")
SQUARE = ImageInput(height=640, width=640, resize="letterbox")
LISTED: set[Any] = {
    *(*BY_SHAPES, *OF_A_READING, *BY_LABELS, *BY_ROWS, *BY_SCORES, *BY_BOXES, *BY_CHANGES)
}


def public_functions() -> list[FunctionType]:
    """Return those of the modules whose steps are listed."""
    names = [one.name for one in pkgutil.iter_modules(exporter.heads.__path__, "exporter.heads.")]
    modules = [importlib.import_module(name) for name in names if "detector_" not in name]
    modules.append(importlib.import_module("exporter.heads.detector_scores"))
    return [
        one
        for module in modules
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__ and not name.startswith("_")
    ]


def test_each_function_that_is_a_step_is_listed() -> None:
    steps = [
        one
        for one in public_functions()
        if next(iter(inspect.get_annotations(one).values()), None)
        in {Shapes, RawValues, Boxes, Changes}
    ]
    assert len(steps) > 20
    assert [one.__name__ for one in steps if one not in LISTED] == []


def shapes(*dims: Dims, names: str = "", labels: int = 80, decoder: str = "") -> Shapes:
    called = names.split() or [f"out{index}" for index in range(len(dims))]
    outputs = [Tensor(name, one) for name, one in zip(called, dims, strict=True)]
    return Shapes(outputs, SQUARE, labels, decoder, are_named=False)


DECIDED_BY_SHAPES = {
    "refuse_levels_though_stated": shapes(
        (1, 144, 80, 80), (1, 144, 40, 40), (1, 144, 20, 20), decoder="yolov8"
    ),
    "read_as_stated": shapes((1, 84, 8400), decoder="yolov5"),
    "refuse_levels_of_boxes": shapes(
        (1, 6400, 4), (1, 6400, 80), (1, 1600, 4), (1, 1600, 80), names="box1 cls1 box2 cls2"
    ),
    "read_triple": shapes(
        (1, 100, 4), (1, 100), (1, 100), (1, 100, 80), names="boxes scores labels logits"
    ),
    "read_pair": shapes((1, 300, 80), (1, 300, 4), names="logits boxes"),
    "read_scored_boxes": shapes((1, 100, 5), (1, 100), names="dets labels"),
    "read_detection_output": shapes((1, 1, 100, 7)),
    "read_pair_of_one_class": shapes((1, 100, 4), (1, 100), names="boxes scores"),
    "refuse_maps": shapes((1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)),
    "refuse_unlike_levels": shapes(*((1, count, 84) for count in (70, 50, 30, 10))),
    "refuse_prototypes": shapes((1, 116, 8400), (1, 32, 160, 160)),
    "refuse_columns": shapes((1, 4, 1000), (1, 80, 1000)),
    "read_one_output": shapes((1, 84, 8400)),
}


def by_shapes(steps: Sequence[ShapeStep], shown: Shapes) -> ShapeReading | str | None:
    try:
        return next((found for step in steps if (found := step(shown)) is not None), None)
    except RecipeError as error:
        return str(error)


@pytest.mark.parametrize("step", BY_SHAPES)
def test_each_step_by_shapes_decides_what_the_others_read_otherwise(step: ShapeStep) -> None:
    shown = DECIDED_BY_SHAPES[name_of(step)]
    others = [one for one in BY_SHAPES if one is not step]
    assert by_shapes(BY_SHAPES, shown) != by_shapes(others, shown)


def boxes(form: str = "xyxy") -> Array:
    return as_form(dense_boxes(SIZE, trained=True), form)


def distances() -> Array:
    cells, strides = grid_cells(SIZE)
    corners, middles = dense_boxes(SIZE, trained=True), (cells + 0.5) * strides
    apart = [middles - corners[..., :2], corners[..., 2:] - middles]
    return np.concatenate(apart, axis=2) / strides


def are_of_objects(corners: Array) -> Array:
    """Return of boxes (A, 4) which are those of several cells."""
    _, places, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    several: Array = counts[places.ravel()] > 3
    return several


def scattered(found: Array) -> Array:
    """Return boxes on no grid."""
    return np.random.default_rng(2).permutation(found, axis=1)[:, 5:90]


RELATIVE = relative_to_cells(boxes("cxcywh"), SIZE)
STATED = {"box_format": "xyxy", "box_unit": "pixel"}
DECIDED_BY_BOXES: dict[str, tuple[str, Array, dict[str, str]]] = {
    "settle_open_rows": ("yolov5 or yolox", RELATIVE, {}),
    "refuse_decoded": ("yolox", boxes("cxcywh"), {}),
    "refuse_sides": ("yolox", distances(), {}),
    "settle_relative": ("yolox", RELATIVE, {}),
    "refuse_relative": ("yolov5", RELATIVE, {}),
    "refuse_offsets": ("pair", distances(), {}),
    "refuse_odd_order": ("pair", boxes()[..., [0, 2, 1, 3]], {}),
    "refuse_other_scale": ("pair", 4 * boxes(), {}),
    "settle_unit": ("pair", boxes(), {}),
    "settle_by_grid": ("pair", boxes("cxcywh"), {}),
    "refuse_other_form": ("pair", scattered(boxes("cxcywh")), STATED),
}


def open_head(decoder: str, anchors: int, stated: dict[str, str]) -> DetectHead:
    """Return the head for boxes of two classes, also of a decoder that the shape leaves open."""
    detect = {"score_activation": "none", **stated}
    content = {"source": "onnx:net.onnx", "task": "detect", "name": "net", "detect": detect}
    recipe = make_recipe(content)
    chosen = recipe.detect.model_copy(update={"decoder": decoder})
    is_pair = decoder == "pair"
    dims = [(1, anchors, 4), (1, anchors, 2)] if is_pair else [(1, anchors, 7)]
    head = select_head(recipe.model_copy(update={"detect": chosen}), dims, FRAME)
    assert isinstance(head, DetectHead)
    return head


def by_boxes(steps: Sequence[Step[Boxes]], name: str) -> Any:
    decoder, found, stated = DECIDED_BY_BOXES[name]
    head = open_head(decoder, found.shape[1], stated)
    parts = []
    for corners, one in zip(boxes(), found, strict=True):
        best = np.where(are_of_objects(corners)[: len(one)], 0.9, 0.01)
        scores = np.stack([best, best], axis=1)[None]
        objectness = np.ones_like(scores[..., :1]) if decoder.startswith("yolo") else None
        parts.append(Candidates(one[None], scores, objectness))
    try:
        return settled_by(steps, Boxes.of(head, parts, FRAME))
    except RecipeError as error:
        return str(error)


@pytest.mark.parametrize("step", BY_BOXES)
def test_each_step_by_boxes_decides_what_the_others_read_otherwise(step: Step[Boxes]) -> None:
    name = name_of(step)
    others = [one for one in BY_BOXES if one is not step]
    assert by_boxes(BY_BOXES, name) != by_boxes(others, name)


def name_of(step: Callable[..., Any]) -> str:
    return step.__name__
