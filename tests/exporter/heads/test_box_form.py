"""Boxes in pixels of a frame that is not square show which axis comes first."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.box_form import EXCHANGED
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detector_steps import judge_form
from exporter.network import Array
from service.card import ImageInput
from tests.exporter.heads.dense import as_form, dense_boxes
from tests.exporter.heads.judged import detect_head

WIDE = ImageInput(height=32, width=128, resize="stretch")
SQUARE = ImageInput(height=64, width=64, resize="stretch")
COUNT = 41


def large(form: str) -> Array:
    """Return boxes in pixels of a square frame (1, A, 4), all within it, of which many reach to its edges."""
    sides = np.sort(np.random.default_rng(5).uniform(0, 1, (1, COUNT, 2, 2)), axis=2)
    return as_form(sides.reshape(1, COUNT, 4) * SQUARE.width, form)


def boxes(form: str, frame: ImageInput = WIDE) -> Array:
    """Return boxes in pixels (1, A, 4), all within the frame, that lie on no grid."""
    rng = np.random.default_rng(4)
    size = np.array([frame.width, frame.height])
    first = rng.uniform(0, 0.7, (COUNT, 2))
    corners = np.concatenate([first, first + rng.uniform(0.1, 0.3, (COUNT, 2))], axis=1)
    return as_form(corners[None] * np.tile(size, 2), form)


def judged(found: Array, frame: ImageInput = WIDE, **stated: Any) -> DetectHead:
    form = {"box_unit": "pixel", "score_activation": "none", **stated}
    head = detect_head("pair", (1, COUNT, 4), (1, COUNT, 2), **form)
    return judge_form(head, [Candidates(found, np.full((1, COUNT, 2), 0.4))], frame)


def test_corners_that_fit_with_x_and_y_exchanged_are_asked_about() -> None:
    words = r"taken to be xyxy.*leave the frame, and with x and y exchanged all lie in it.*--box-format yxyx"
    with pytest.raises(RecipeError, match=words):
        judged(boxes("yxyx"))
    assert judged(boxes("xyxy")).recipe.box_format == "xyxy"


@pytest.mark.parametrize("form", ["xyxy", "yxyx"])
def test_a_stated_order_is_not_overruled(form: str) -> None:
    assert judged(boxes("yxyx"), box_format=form).recipe.box_format == form


@pytest.mark.parametrize("form", ["cycxhw", "yxhw"])
def test_centers_and_corners_with_sizes_may_be_exchanged_too(form: str) -> None:
    assumed = {"yxhw": "xywh", "cycxhw": "cxcywh"}[form]
    decoder = {"decoder": "detr", "box_format": assumed} if assumed == "xywh" else {}
    head = detect_head("detr", (1, COUNT, 6), box_unit="pixel", score_activation="none")
    recipe = head.recipe.model_copy(update=decoder)
    head = replace(head, recipe=recipe, assumed=("format",))
    with pytest.raises(RecipeError, match=rf"taken to be {assumed}.*--box-format {form}"):
        judge_form(head, [Candidates(boxes(form), np.full((1, COUNT, 2), 0.4))], WIDE)
    stated = judged(boxes(form), box_format=form)
    assert (stated.recipe.box_format, stated.assumed) == (form, ())


def test_corners_with_y_first_are_told_from_centers_with_y_first() -> None:
    with pytest.raises(RecipeError, match=r"stated to be cycxhw.*Give --box-format yxyx$"):
        judged(boxes("yxyx"), box_format="cycxhw")
    with pytest.raises(RecipeError, match=r"stated to be yxyx.*Give --box-format cycxhw;"):
        judged(boxes("cycxhw"), box_format="yxyx")


@pytest.mark.parametrize("form", ["cxcywh", "cycxhw"])
def test_points_and_sizes_on_a_grid_are_no_corners(form: str) -> None:
    """Sizes so small that the point may be the center or a corner."""
    frame = ImageInput(height=320, width=320, resize="stretch")
    found = as_form(dense_boxes((320, 320)), form)
    found[..., 2:] = 1e-3
    count = found.shape[1]
    parts = [Candidates(found, np.full((*found.shape[:2], 1), 0.1))]
    known = {"box_unit": "pixel", "score_activation": "none"}

    def on_grid(**stated: Any) -> DetectHead:
        return judge_form(
            detect_head("pair", (1, count, 4), (1, count, 1), **known, **stated), parts, frame
        )

    corner = {"cxcywh": "xywh", "cycxhw": "yxhw"}[form]
    words = rf"they are a point and a size\. Give --box-format {form}, .*; or {corner}, "
    for stated in ({}, {"box_format": "xyxy"}, {"box_format": EXCHANGED[form]}):
        with pytest.raises(RecipeError, match=words):
            on_grid(**stated)
    assert on_grid(box_format=corner).recipe.box_format == corner


def test_a_square_frame_shows_nothing() -> None:
    square = ImageInput(height=64, width=64, resize="stretch")
    head = judged(boxes("yxyx", square), square)
    assert (head.recipe.box_format, head.assumed) == ("xyxy", ("format",))


def test_boxes_that_leave_the_frame_either_way_show_nothing() -> None:
    assert "format" in judged(boxes("yxyx") * 1.3).assumed


@pytest.mark.parametrize(("form", "stated"), [("xyxy", "cxcywh"), ("cxcywh", "xyxy")])
def test_stated_centers_that_can_only_be_corners_are_refused_and_the_reverse(
    form: str, stated: str
) -> None:
    with pytest.raises(RecipeError, match=f"are stated to be {stated}.*Give --box-format {form}"):
        judged(boxes(form), box_format=stated)


@pytest.mark.parametrize(
    ("form", "stated"),
    [
        *(("xywh", "cxcywh"), ("cxcywh", "xywh"), ("yxhw", "cycxhw"), ("cycxhw", "yxhw")),
        *(("xywh", "xyxy"), ("yxhw", "yxyx")),
    ],
)
def test_a_stated_point_that_can_only_be_another_one_is_refused(form: str, stated: str) -> None:
    found = large(form)
    words = rf"are stated to be {stated}.* all lie in (it|the frame)\. Give --box-format {form}"
    with pytest.raises(RecipeError, match=words):
        judged(found, SQUARE, box_format=stated)
    assert judged(found, SQUARE, box_format=form).recipe.box_format == form


def cut(form: str) -> Array:
    """Return boxes that leave the frame by more than a twentieth of it, as those of objects that are cut off do."""
    corners = (large("xyxy") - SQUARE.width / 2) * 1.3 + SQUARE.width / 2
    for leaves in (corners < -0.05 * SQUARE.width, corners > 1.05 * SQUARE.width):
        assert leaves.any(axis=-1).mean() > 0.2
    return as_form(corners, form)


@pytest.mark.parametrize("form", ["cxcywh", "xywh"])
def test_right_boxes_that_leave_the_frame_are_believed(form: str) -> None:
    assert judged(cut(form), SQUARE, box_format=form).recipe.box_format == form


def test_the_boxes_of_an_untrained_network_may_leave_the_frame_on_one_side() -> None:
    one = np.array([0.3, 0.3, 0.72, 0.25]) * SQUARE.width
    found = one + np.random.default_rng(1).normal(0, 0.3, (1, COUNT, 4))
    assert judged(found, SQUARE, box_format="cxcywh").recipe.box_format == "cxcywh"


def test_y_from_the_bottom_is_refused_on_a_grid() -> None:
    size = (64, 64)
    found = dense_boxes(size)
    found[..., [1, 3]] = size[0] - found[..., [1, 3]]
    count = found.shape[1]
    head = detect_head("pair", (1, count, 4), (1, count, 2), score_activation="none")
    part = Candidates(found, np.full((len(found), count, 2), 0.4))
    words = "y counted from the bottom.*height - y"
    with pytest.raises(RecipeError, match=words):
        judge_form(head, [part], ImageInput(height=64, width=64, resize="stretch"))


FEW = np.array(
    [
        *([0.15, 0.1, 0.95, 0.9], [0.5, 0.45, 0.95, 1.0], [0.0, 0.0, 0.85, 0.95]),
        *([0.55, 0.1, 1.0, 0.7], [0.1, 0.5, 0.9, 0.98], [0.2, 0.04, 0.95, 0.6]),
    ]
)
"""xyxy in 0–1 of the frame: all that a detector with its own suppression finds on several photographs."""


def judged_few(truth: str, stated: str, count: int) -> DetectHead:
    found = as_form(FEW[None, :count] * SQUARE.width, truth)
    form = {"box_unit": "pixel", "score_activation": "none", "box_format": stated}
    head = detect_head("pair", (1, count, 4), (1, count, 2), **form)
    return judge_form(head, [Candidates(found, np.full((1, count, 2), 0.4))], SQUARE)


@pytest.mark.parametrize(
    ("truth", "stated"),
    [
        *(("xyxy", "cxcywh"), ("xyxy", "xywh"), ("cxcywh", "xywh"), ("xywh", "cxcywh")),
        *(("yxyx", "cycxhw"), ("yxyx", "yxhw"), ("cycxhw", "yxhw"), ("yxhw", "cycxhw")),
    ],
)
def test_a_few_boxes_contradict_another_form_if_most_of_them_do(truth: str, stated: str) -> None:
    with pytest.raises(RecipeError, match=f"are stated to be {stated}.*Give --box-format {truth}"):
        judged_few(truth, stated, 6)
    assert judged_few(truth, stated, 3).recipe.box_format == stated
    assert judged_few(truth, truth, 6).recipe.box_format == truth
