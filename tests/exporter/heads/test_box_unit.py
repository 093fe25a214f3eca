"""The unit of boxes that nobody states, by how large their numbers are."""

from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.box_grid import GridReading, Unit
from exporter.heads.box_unit import judge_unit
from exporter.heads.detect import DetectHead
from tests.exporter.heads.judged import array, detect_head, split

SMALL, LARGE = [0.1, 0.2, 0.4, 0.9], [10.0, 20.0, 40.0, 60.0]


def judged(
    boxes: Any, scores: Any, seen: GridReading | None = None, decoder: str = "pair", **stated: Any
) -> DetectHead:
    found, best = array(boxes), array(scores)[..., None]
    raw = (found, best) if decoder == "pair" else (np.concatenate([found, best], axis=2),)
    dims = tuple(one.shape for one in raw)
    head = detect_head(decoder, *dims, score_activation="none", **stated)
    return judge_unit(head, seen, split(head, raw))


def unit(*found: Any, **stated: Any) -> tuple[str, bool]:
    """Return the unit, and whether it is assumed."""
    head = judged(*found, **stated)
    return head.recipe.box_unit, "unit" in head.assumed


def test_the_best_boxes_show_it_where_there_are_any() -> None:
    assert unit([LARGE] * 3 + [SMALL] * 20, [0.9] * 3 + [0.1] * 20) == ("pixel", False)
    assert unit([SMALL] * 3, [0.9] * 3) == ("frame", False)
    assert unit([SMALL] * 10, [0.1] * 10, box_format="cxcywh") == ("frame", False)
    assert unit([LARGE] * 10, [0.1] * 10) == ("pixel", False)


def test_between_large_and_small_nothing_is_shown() -> None:
    """Neither half of the boxes is large, nor are nine of ten small."""
    assert unit([LARGE] * 4 + [SMALL] * 6, [0.1] * 10) == ("frame", True)
    # One box beyond the frame is no proof of pixels, and its size none of fractions.
    assert unit([LARGE] + [SMALL] * 3, [0.9] * 4) == ("frame", True)


def test_small_numbers_of_which_many_are_negative_are_offsets_and_no_shares() -> None:
    offsets = np.random.default_rng(2).normal(0, 0.5, (40, 4))
    assert unit(offsets, [0.1] * 40) == ("frame", True)
    empty = [[0.0] * 4] * 400
    assert unit([*offsets, *empty], [0.1] * 440) == ("frame", True)
    # The corners of boxes at the left and the top may lie outside.
    assert unit([[-0.1, 0.2, 0.4, 0.9]] * 3, [0.9] * 3) == ("frame", False)


def test_empty_rows_show_nothing() -> None:
    assert unit([[0.0] * 4] * 9, [0.0] * 9) == ("frame", True)
    assert unit([[0.0] * 4] * 90 + [LARGE], [0.0] * 91) == ("pixel", False)


def test_the_grid_counts_before_the_numbers() -> None:
    seen = GridReading("xyxy", "frame")
    assert unit([LARGE] * 3, [0.9] * 3, seen) == ("frame", False)
    assert unit([LARGE] * 3, [0.9] * 3, GridReading("xyxy", None)) == ("pixel", False)


def test_a_statement_is_refused_by_the_grid_alone() -> None:
    with pytest.raises(RecipeError, match=r"stated to be in pixels.*in frames\. Give --box-unit f"):
        judged([LARGE] * 3, [0.9] * 3, GridReading("xyxy", "frame"), box_unit="pixel")
    assert unit([SMALL] * 3, [0.9] * 3, box_unit="pixel") == ("pixel", False)


@pytest.mark.parametrize(("count", "is_free"), [(1000, True), (1001, False)])
def test_more_boxes_in_pixels_than_there_are_queries_are_dense(
    count: int, *, is_free: bool
) -> None:
    head = judged([LARGE] * count, [0.9] * count, decoder="detr")
    assert (head.recipe.box_unit, head.recipe.nms_free) == ("pixel", is_free)
    assert head.recipe.one_class_a_box is not is_free
    stated = judged([LARGE] * count, [0.9] * count, decoder="detr", nms_free=True)
    assert stated.recipe.nms_free


def test_boxes_on_a_grid_are_dense_also_where_it_shows_their_form_alone() -> None:
    seen = GridReading("cxcywh", None)
    assert not judged([LARGE] * 84, [0.9] * 84, seen, decoder="detr").recipe.nms_free


def test_queries_on_a_grid_are_dense_in_any_unit() -> None:
    units: tuple[Unit, ...] = ("pixel", "frame")
    for found in units:
        seen = GridReading("cxcywh", found)
        head = judged([SMALL] * 3, [0.9] * 3, seen, decoder="detr")
        assert (head.recipe.box_unit, head.recipe.nms_free) == (found, False)
    seen = GridReading("cxcywh", "frame")
    kept = judged([SMALL] * 3, [0.9] * 3, seen, decoder="detr", one_class_a_box=False)
    assert not kept.recipe.one_class_a_box
