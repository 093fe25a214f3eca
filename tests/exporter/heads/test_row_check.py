"""Rows of six or seven columns must hold a score and a class id where their decoder reads them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.row_check import check_rows
from exporter.network import Array
from tests.exporter.heads.judged import array, detect_head, split


def check(*images: list[list[float]], decoder: str = "end2end", **detect: Any) -> None:
    """Check the rows of each image."""
    values = [array(rows) for rows in images]
    head = detect_head(decoder, values[0].shape, **detect)
    check_rows(head, split(head, *((one,) for one in values)))


BOX = [10.0, 20.0, 30.0, 40.0]
TURNED = [30.0, 40.0, 10.0, 20.0]
"""A center and a size look so where the object is smaller than its distance to the corner."""


def test_boxes_scores_and_class_ids_pass() -> None:
    check([[*BOX, 0.9, 3], [*BOX, 0.8, 0]])
    check([[0, *BOX, 3, 0.9], [0, *BOX, 0, 0.8]], decoder="yolov7")


def test_a_class_id_may_differ_a_little_from_a_whole_number() -> None:
    check([[*BOX, 0.9, 3.0009]])
    with pytest.raises(RecipeError, match=r"real images give 3 to 3\. State"):
        check([[*BOX, 0.9, 3.0015]])
    with pytest.raises(RecipeError, match=r"real images give 0\.5 to 3\. State"):
        check([[*BOX, 0.9, 3], [*BOX, 0.9, 0.5]])


def test_the_id_of_the_only_class_is_not_read_as_its_score() -> None:
    check([[*BOX, 0.9, 0.01], [*BOX, 0.8, 0]], decoder="yolov5")
    with pytest.raises(RecipeError, match=r"it is 0 in every box.* Give --decoder end2end"):
        check([[*BOX, 0.9, 0], [*BOX, 0.8, 0]], [[*BOX, 0.7, 0]], decoder="yolov5")


def check_columns(*rows: list[float], decoder: str = "yolov8") -> None:
    """Check one image's rows, as columns."""
    values = array(*rows).T[None]
    head = detect_head(decoder, values.shape)
    check_rows(head, split(head, (values,)))


def test_the_id_of_the_only_class_in_columns_is_not_read_as_its_score() -> None:
    check_columns([*BOX, 0.9, 0.01], [*BOX, 0.8, 0], decoder="yolov5_columns")
    with pytest.raises(RecipeError, match=r"it is 0 in every box.*output\.transpose\(1, 2\)"):
        check_columns([*BOX, 0.9, 0], [*BOX, 0.8, 0], decoder="yolov5_columns")


@pytest.mark.parametrize("first", [0, 1])
def test_a_score_and_an_id_are_not_read_as_the_scores_of_two_classes(first: int) -> None:
    rows = [[*BOX, 0.9, first], [*BOX, 0.25, first + 1]]
    exchanged = [[*row[:4], row[5], row[4]] for row in rows]
    for found in (rows, exchanged):
        with pytest.raises(RecipeError, match=r"whole numbers alone.*output\.transpose\(1, 2\)"):
            check_columns(*found)
        for decoder in ("yolov8_rows", "detr"):
            with pytest.raises(RecipeError, match=r"as the number of a class is\. Give --decoder"):
                check(found, decoder=decoder)


def test_scores_that_are_whole_by_chance_are_not_taken_for_ids() -> None:
    check_columns([*BOX, 0.9, 1], [*BOX, 0.25, 1])
    check_columns([*BOX, 0.9, 0], [*BOX, 0.25, 0])
    check_columns([*BOX, 1, 0], [*BOX, 0, 1])
    check_columns([*BOX, 3.5, 1], [*BOX, -2.5, 0])


@pytest.mark.parametrize(
    ("decoder", "row", "order"),
    [
        ("end2end", [*BOX, 0.9, 0.25], "6 columns looks like box, score, class"),
        ("yolov7", [0, *BOX, 0.25, 0.9], "7 columns looks like image, box, class, score"),
    ],
)
def test_scores_where_class_ids_must_be_are_refused(
    decoder: str, row: list[float], order: str
) -> None:
    with pytest.raises(
        RecipeError, match=rf"{order}.*give 0\.25 to 0\.25.*--decoder yolov5"
    ) as one:
        check([row], decoder=decoder)
    assert f"--decoder {decoder}, but" in str(one.value)


@pytest.mark.parametrize(
    ("decoder", "rows"),
    [
        ("end2end", [[*BOX, 3, 0.9], [*BOX, 1, 0.25]]),
        ("class_score", [[*BOX, 0.9, 3], [*BOX, 0.25, 1]]),
        ("yolov7", [[0, *BOX, 0.9, 3], [0, *BOX, 0.25, 1]]),
    ],
)
def test_exchanged_columns_are_named(decoder: str, rows: list[list[float]]) -> None:
    with pytest.raises(
        RecipeError, match=rf"--decoder {decoder}: .*0\.25 to 0\.9 where.*exchanged"
    ):
        check(rows, decoder=decoder)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ([3, 0.9], r"class, score, box.*Give --decoder paddle"),
        ([0.9, 3], r"score, class, box.*in the order of box, score, class"),
    ],
    ids=["class first", "score first"],
)
def test_rows_with_the_box_last_are_named(first: list[float], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check([[*first, 10.5, 20.5, 30.5, 40.5], [*first, 1.5, 2.5, 3.5, 4.5]])


def test_one_number_that_is_not_whole_shows_that_nothing_is_exchanged() -> None:
    with pytest.raises(RecipeError, match="looks like"):
        check([[*BOX, 3, 0.9], [*BOX, 1.5, 0.25]])
    with pytest.raises(RecipeError, match="looks like"):
        check([[*BOX, 3, 1.9], [*BOX, 1, 0.25]])


def test_boxes_that_are_no_corners_are_refused_where_all_classes_are_the_same() -> None:
    """As with a YOLOv5 of one class, whose sixth column is a score that was rounded."""
    with pytest.raises(RecipeError, match=r"all classes are 1, and only 33% of the boxes"):
        check([[*BOX, 0.9, 1], [*TURNED, 0.8, 1], [*TURNED, 0.8, 1]])
    with pytest.raises(RecipeError, match=r"all classes are 0, and only 33% of the boxes"):
        check([[*BOX, 0, 0.9], [*TURNED, 0, 0.8], [*TURNED, 0, 0.8]], decoder="class_score")


def test_a_second_corner_is_below_and_to_the_right() -> None:
    below, right = [30.0, 20.0, 10.0, 40.0], [10.0, 40.0, 30.0, 20.0]

    with pytest.raises(RecipeError, match="only 0% of the boxes"):
        check([[*below, 0.9, 1], [*right, 0.8, 1], [10.0, 20.0, 10.0, 20.0, 0.7, 1]])


def test_half_of_the_boxes_or_two_classes_or_another_form_are_enough() -> None:
    check([[*BOX, 0.9, 1], [*TURNED, 0.8, 1]])
    check([[*TURNED, 0.9, 1], [*TURNED, 0.8, 2]])
    check([[*TURNED, 0.9, 1], [*TURNED, 0.8, 1]], box_format="cxcywh")
    check([[0, *TURNED, 1, 0.9], [0, *TURNED, 1, 0.8]], decoder="yolov7")


def test_rows_that_fill_up_a_list_show_nothing() -> None:
    check([[*TURNED, 0.0, 0.5], [*TURNED, 0.9, -1], [0.0] * 6])
    with pytest.raises(RecipeError):
        check([[*TURNED, 0.0, 0.5]], [[*BOX, 0.9, 0.5]])


def test_other_decoders_have_no_such_rows() -> None:
    raw: Array = np.full((1, 9, 6), 0.5, np.float32)
    head = detect_head("yolov5", raw.shape)

    check_rows(head, split(head, (raw,)))


def test_rows_of_a_known_network_are_not_asked_about() -> None:
    """A Faster R-CNN of one class whose boxes have no area yet gives such rows."""
    rows = array([[*TURNED, 0.9, 1], [*TURNED, 0.8, 1]])
    head = detect_head("end2end", rows.shape)

    check_rows(replace(head, is_known=True), split(head, (rows,)))
    with pytest.raises(RecipeError, match="--decoder yolov5"):
        check_rows(head, split(head, (rows,)))
