"""The head follows from the task and the shapes of the raw outputs."""

from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.segment import SegmentHead
from exporter.heads.select_head import select_head
from exporter.recipe import Recipe, make_recipe


def recipe(task: str, **fields: Any) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net", **fields})


def test_a_classifier_has_as_many_classes_as_scores() -> None:
    head = select_head(recipe("classify", multi_label=True), [(1, 7)])
    assert head == ClassifyHead(7, multi_label=True)


def test_a_single_map_gets_a_sigmoid_in_place_of_the_softmax() -> None:
    assert select_head(recipe("segment"), [(1, 1, 4, 5)]) == SegmentHead(1, (4, 5), "sigmoid")
    assert select_head(recipe("segment"), [(1, 3, 4, 5)]) == SegmentHead(3, (4, 5), "softmax")


@pytest.mark.parametrize(
    ("decoder", "shapes", "anchors", "columns"),
    [
        ("pair", [(1, 9, 4), (1, 9, 3)], 9, 3),
        ("pair", [(1, 9, 1, 4), (1, 9, 3)], 9, 3),
        ("pair_objectness", [(1, 9, 4), (1, 9, 3), (1, 9)], 9, 3),
        ("pair_objectness", [(1, 9, 1, 4), (1, 9, 3), (1, 9, 1)], 9, 3),
        ("yolov5", [(1, 9, 8)], 9, 3),
        ("yolov8", [(1, 7, 9)], 9, 3),
        ("end2end", [(1, 9, 6)], 9, 0),
    ],
)
def test_a_detector_s_anchors_and_columns_are_read_off_its_shapes(
    decoder: str, shapes: list[tuple[int, ...]], anchors: int, columns: int
) -> None:
    head = select_head(recipe("detect", detect={"decoder": decoder}), shapes)
    assert isinstance(head, DetectHead)
    assert (head.anchors, head.columns) == (anchors, columns)


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        (
            "classify",
            (1, 2, 3),
            r"one score per class, \(N, K\).*\(1, 2, 3\).*each of 2 places.*returns text",
        ),
        ("segment", (1, 2, 3), "one map per class"),
        ("detect", (1, 2, 3), "boxes .* and scores"),
        ("temporal", (1, 2), "train:"),
        ("embed", (1, 5, 7), "tokens"),
        ("embed", (1, 5, 7, 2, 2), "tokens"),
        ("embed", (1,), "single number"),
        ("embed", (1, 1), "single number"),
        ("embed", (1, 1, 4, 4), "single number"),
    ],
)
def test_shapes_that_do_not_fit_the_task_are_refused(
    task: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        select_head(recipe(task), [shape])


def test_scores_without_an_axis_of_classes_are_refused_with_the_next_step() -> None:
    with pytest.raises(RecipeError, match=r"\(N, A, 1\), as scores\[\.\.\., None\] gives"):
        select_head(recipe("detect"), [(1, 9, 4), (1, 9)])
