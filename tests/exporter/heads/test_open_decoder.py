"""What the shape of one output leaves open is settled by values, and asked about where they show nothing."""

from typing import Any

import numpy as np
import pytest
from onnx import helper

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.box_grid import GridReading
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import COLUMNS, ROWS
from exporter.heads.open_decoder import are_relative, settle_columns, settle_rows
from exporter.heads.select_head import select_head
from exporter.network import Array
from exporter.recipe import make_recipe
from tests.exporter.graphs import normal, pixel_graph
from tests.exporter.heads.dense import as_form, dense_boxes
from tests.exporter.heads.judged import FRAME

CELLS = 84
RNG = np.random.default_rng(9)
OFFSETS = RNG.normal(0.5, 1, (6, CELLS, 4))
DISTANCES = RNG.gamma(2, 1, (6, CELLS, 4))


def open_head(decoder: str, dims: tuple[int, ...], **detect: Any) -> DetectHead:
    content = {"source": "onnx:net.onnx", "task": "detect", "name": "net", "detect": detect}
    recipe = make_recipe(content)
    detect_recipe = recipe.detect.model_copy(update={"decoder": decoder})
    head = select_head(recipe.model_copy(update={"detect": detect_recipe}), [dims], FRAME)
    assert isinstance(head, DetectHead)
    return head


def rows(boxes: Array, seen: GridReading | None = None, **detect: Any) -> tuple[str, str]:
    head = settle_rows(open_head(ROWS, (1, CELLS, 8), **detect), seen, boxes, FRAME)
    return head.recipe.decoder, head.recipe.box_format


def test_offsets_and_logarithms_are_those_of_yolox() -> None:
    assert rows(OFFSETS) == ("yolox", "grid")


def test_boxes_on_the_grid_are_decoded() -> None:
    assert rows(OFFSETS, GridReading("xyxy", "pixel")) == ("yolov5", "cxcywh")


def test_a_stated_format_decides() -> None:
    assert rows(DISTANCES, box_format="grid") == ("yolox", "grid")
    assert rows(OFFSETS, box_format="xywh") == ("yolov5", "xywh")


@pytest.mark.parametrize("boxes", [DISTANCES, OFFSETS * 40], ids=["distances to sides", "large"])
def test_what_looks_like_neither_is_asked_about(boxes: Array) -> None:
    with pytest.raises(
        RecipeError,
        match=r"84 boxes, one for each cell.*Distances.*its decoding.*--decoder yolox or yolov5",
    ):
        rows(boxes)


def test_only_one_box_for_each_cell_can_be_relative_to_it() -> None:
    assert are_relative(OFFSETS, FRAME)
    assert not are_relative(OFFSETS[:, :-1], FRAME)


ENDS = {"sigmoid": ["Sigmoid"], "angle": ["Sigmoid", "Neg", "Selu"], "linear": []}


def joined(last: str) -> Graph:
    """Return a graph whose output joins columns of a linear layer, of which the last come through these operators."""
    nodes = [helper.make_node("Conv", ["pixels", "w"], ["linear"])]
    found = "linear"
    for index, operator in enumerate(ENDS[last]):
        nodes.append(helper.make_node(operator, [found], [found := f"step_{index}"]))
    nodes += [
        helper.make_node("Concat", ["linear", found], ["rows"], axis=1),
        helper.make_node("Transpose", ["rows"], ["raw"]),
    ]
    return Graph(pixel_graph(*nodes, w=normal(4, 3, 16, 16)))


ON_GRID = as_form(dense_boxes((FRAME.height, FRAME.width)), "cxcywh")
NOTHING = np.full((6, CELLS, 1), 0.01)
CLEAR = np.full((6, CELLS, 1), 0.9)


def columns(
    boxes: Array = ON_GRID,
    objectness: Array = NOTHING,
    scores: Array = CLEAR,
    last: str = "sigmoid",
) -> str:
    head = open_head(COLUMNS, (1, 5 + scores.shape[2], CELLS))
    part = Candidates(boxes, scores, objectness)
    return settle_columns(head, [part], joined(last), "raw", FRAME).recipe.decoder


def test_cells_without_an_object_that_have_a_clear_class_have_an_objectness() -> None:
    assert columns() == "yolov5_columns"
    some = NOTHING.copy()
    some[:, ::3] = 0.8
    assert columns(objectness=some) == "yolov5_columns"


@pytest.mark.parametrize(
    "changed",
    [
        {"scores": NOTHING},
        {"objectness": CLEAR},
        {"scores": CLEAR * 2},
        {"boxes": ON_GRID[:, ::-1]},
        {"last": "angle"},
        {"last": "linear"},
    ],
    ids=["no class", "all objects", "no probability", "no grid", "an angle", "a linear layer"],
)
def test_without_one_of_the_signs_the_fifth_value_is_asked_about(changed: dict[str, Any]) -> None:
    words = r"\(N, 6, 84\) has 2 values beside a box.*there are 1 labels.*--decoder yolov5_columns"
    with pytest.raises(RecipeError, match=words):
        columns(**changed)


RARE = np.full((6, CELLS, 3), 0.01)
QUALITY = np.concatenate([RARE, np.full((6, CELLS, 1), 0.4)], axis=2)
"""Scores of classes where there is no object, and a value that is clear everywhere, as FCOS' centerness is."""


def test_a_last_column_that_is_clear_alone_is_asked_about() -> None:
    with pytest.raises(RecipeError, match="state --decoder yolov5_columns"):
        columns(scores=QUALITY)
    assert columns(scores=QUALITY[..., ::-1]) == "yolov5_columns"


@pytest.mark.parametrize("classes", [1, 3])
def test_values_that_sum_to_one_are_those_of_a_softmax_with_a_background(classes: int) -> None:
    scores = np.full((6, CELLS, classes), 0.49 / classes)
    scores[..., -1] = 1 - NOTHING[..., 0] - scores[..., :-1].sum(axis=2)
    with pytest.raises(RecipeError, match="score of a class, such as the background"):
        columns(scores=scores)
