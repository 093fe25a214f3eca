"""A column of scores without a label is asked about, and an objectness is not taken for a background."""

from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.heads.extra_column import refuse_objectness, refuse_one_more
from tests.exporter.heads.judged import array, detect_head

DIMS = {"detr": (1, 50, 10), "yolov8_rows": (1, 50, 10), "yolov8": (1, 10, 50)}
READS_OBJECTNESS = {"detr": "yolov5", "yolov8_rows": "yolov5", "yolov8": "yolov5_columns"}


@pytest.mark.parametrize("decoder", DIMS)
def test_one_column_more_than_labels_may_be_an_objectness(decoder: str) -> None:
    head = detect_head(decoder, DIMS[decoder])
    words = rf"6 columns.*objectness.*--decoder {READS_OBJECTNESS[decoder]}\. .*--background first"
    with pytest.raises(RecipeError, match=words):
        refuse_one_more(head, 5)
    for labels in (0, 4, 6):
        refuse_one_more(head, labels)


@pytest.mark.parametrize("stated", [{"background": "last"}, {"class_offset": 0}])
def test_what_is_stated_of_the_columns_is_not_asked_about(stated: dict[str, Any]) -> None:
    refuse_one_more(detect_head("detr", DIMS["detr"], **stated), 5)


def judge(rows: list[list[float]], background: str = "first", decoder: str = "detr") -> None:
    scores = array(rows)
    boxes, width = scores.shape[1], scores.shape[2]
    head = detect_head(decoder, (1, boxes, 4 + width), background=background)
    refuse_objectness(head, [scores])


OBJECT = [0.9, 0.1, 0.8]
NO_OBJECT = [0.01, 0.3, 0.2]


def test_a_column_that_is_high_where_a_class_is_is_no_background() -> None:
    with pytest.raises(RecipeError, match=r"of the 4 boxes .* 100% .*--decoder yolov5 without"):
        judge([OBJECT] * 4 + [NO_OBJECT] * 4)
    with pytest.raises(RecipeError, match=r"--background last .* without this column"):
        judge([OBJECT[::-1]] * 4, "last")


@pytest.mark.parametrize(
    "rows",
    [
        [OBJECT] * 3 + [NO_OBJECT] * 9,
        [[0.9, 0.1, 0.2]] * 40 + [[0.1, 0.8, 0.1]] * 4 + [OBJECT] * 4,
        [[0.01, 0.01, 0.9]] * 40,
        [[0.5, 0.0, 0.5]] * 40,
    ],
    ids=["too few", "absence of classes", "encoded as zeros", "a softmax"],
)
def test_backgrounds_are_left(rows: list[list[float]]) -> None:
    judge(rows)


def test_without_a_background_every_column_is_a_class() -> None:
    judge([OBJECT] * 8, "none")
