"""Boxes whose numbers contradict their stated form are refused with the option."""

from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.box_check import check_boxes
from exporter.network import Array
from tests.exporter.heads.judged import array, detect_head, split


def check(boxes: Any, scores: Any, **form: Any) -> None:
    """Check one image's boxes, each with a score for one class."""
    found, best = array(boxes), array(scores)[..., None]
    head = detect_head("pair", found.shape, best.shape, score_activation="none", **form)
    check_boxes(head, split(head, (found, best)))


CORNERS = [[0.1, 0.2, 0.4, 0.6], [0.5, 0.5, 0.9, 0.75]]
CENTERS = [[0.25, 0.4, 0.3, 0.4], [0.7, 0.625, 0.4, 0.25]]
SURE = [0.9, 0.8]


def test_corners_in_the_frame_pass() -> None:
    check(CORNERS, SURE)
    check(CORNERS, SURE, box_format="yxyx")


def test_the_first_corner_must_be_above_and_to_the_left() -> None:
    turned = [[0.4, 0.6, 0.1, 0.2], [0.9, 0.75, 0.5, 0.5]]

    with pytest.raises(
        RecipeError, match=r"taken to be xyxy, .*only 0% have.*Give --box-format cxcywh"
    ):
        check(turned, SURE)
    with pytest.raises(RecipeError, match="stated to be yxyx, two corners"):
        check(turned, SURE, box_format="yxyx")
    for form in ("cxcywh", "xywh"):
        check(turned, SURE, box_format=form)


def test_below_but_not_to_the_right_is_no_second_corner() -> None:
    with pytest.raises(RecipeError, match="two corners"):
        check([[0.5, 0.1, 0.4, 0.6], [0.5, 0.5, 0.9, 0.4]], SURE)


@pytest.mark.parametrize(("good", "is_enough"), [(1, False), (2, True)])
def test_a_tenth_of_the_boxes_must_be_corners(good: int, *, is_enough: bool) -> None:
    boxes = [CORNERS[0]] * good + [[0.5, 0.5, 0.1, 0.1]] * (20 - good)

    if is_enough:
        check(boxes, [0.9] * 20)
    else:
        with pytest.raises(RecipeError, match="only 5% have"):
            check(boxes, [0.9] * 20)


def test_only_the_best_twenty_boxes_of_an_image_count() -> None:
    """Twenty good boxes are the best; two hundred wrong ones have lower scores."""
    wrong = [[0.5, 0.5, 0.1, 0.1]] * 200

    check([*wrong, *[CORNERS[0]] * 20], [0.5] * 200 + [0.9] * 20)
    with pytest.raises(RecipeError):
        check([*wrong, *[CORNERS[0]] * 20], [0.9] * 200 + [0.5] * 20)


def test_boxes_of_low_scores_do_not_count() -> None:
    wrong = [[0.5, 0.5, 0.1, 0.1]] * 2

    check(wrong, [0.29, 0.29])
    with pytest.raises(RecipeError):
        check(wrong, [0.31, 0.31])


def test_all_images_count() -> None:
    head = detect_head("pair", (1, 1, 4), (1, 1, 1), score_activation="none")
    good, wrong = array([CORNERS[0]]), array([[0.5, 0.5, 0.1, 0.1]])
    score = array([[0.9]])

    check_boxes(head, split(head, (wrong, score), (good, score)))
    with pytest.raises(RecipeError):
        check_boxes(head, split(head, (wrong, score), (wrong, score)))


@pytest.mark.parametrize(("reach", "is_pixel"), [(2.0, False), (2.01, True), (64.0, True)])
def test_numbers_above_two_are_no_shares_of_the_frame(reach: float, *, is_pixel: bool) -> None:
    boxes = [[0.1, 0.2, 0.4, reach], [0.1, -reach, 0.4, 0.6]]

    if not is_pixel:
        check(boxes, SURE)
        return
    with pytest.raises(RecipeError, match=rf"numbers reach {reach:.0f}\. Give --box-unit pixel"):
        check(boxes, SURE)


def test_one_box_beyond_the_frame_is_no_proof() -> None:
    check([*CORNERS, [0.0, 0.0, 0.5, 3.0]], [*SURE, 0.7])


@pytest.mark.parametrize("scores", [SURE, [0.1, 0.1]], ids=["sure", "none is sure"])
@pytest.mark.parametrize(("reach", "is_share"), [(1.0, True), (2.0, True), (2.01, False)])
def test_boxes_that_are_all_small_are_no_pixels(
    reach: float, scores: list[float], *, is_share: bool
) -> None:
    boxes = [[0.1, 0.2, 0.4, reach], [0.1, 0.2, 0.3, reach]]

    if not is_share:
        check(boxes, scores, box_unit="pixel")
        return
    with pytest.raises(
        RecipeError, match=rf"no number larger than {reach:.0f}\. Give --box-unit f"
    ):
        check(boxes, scores, box_unit="pixel")


def test_nine_of_ten_boxes_show_the_unit() -> None:
    """The largest number of most boxes is 1; with one box of twenty in pixels, the tenth from above still is."""
    small, large = [0.1, 0.2, 0.4, 1.0], [10.0, 10.0, 40.0, 40.0]
    low = [0.1] * 20

    with pytest.raises(RecipeError, match="--box-unit frame"):
        check([small] * 19 + [large], low, box_unit="pixel")
    check([small] * 16 + [large] * 4, low, box_unit="pixel")
    # A sure box in pixels decides.
    check([small] * 19 + [large], [0.1] * 19 + [0.9], box_unit="pixel")


def test_rows_of_zeros_fill_up_a_list_and_show_nothing() -> None:
    empty = [[0.0] * 4] * 50

    check(empty, [0.0] * 50, box_unit="pixel")
    check([*empty, [10.0, 10.0, 40.0, 40.0]], [0.0] * 51, box_unit="pixel")


def test_boxes_relative_to_a_grid_may_hold_anything() -> None:
    # 84 cells of strides 8, 16 and 32 over 64×64.
    raw: Array = np.full((1, 84, 6), 0.9, np.float32)
    head = detect_head("yolox", raw.shape, score_activation="none")

    check_boxes(head, split(head, (raw,)))
