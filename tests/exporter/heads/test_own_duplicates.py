"""A detector that is taken to give each object one box gets suppression where real images show several."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter.heads.detect import DetectHead
from exporter.heads.own_duplicates import judge_again, judge_suppression
from exporter.network import Array
from tests.exporter.heads.dense import grid_cells
from tests.exporter.heads.judged import FRAME, detect_head

ROWS = 12
SIDE = FRAME.height


def image(place: float, boxes: int, *, kinds: int = 1, score: float = 0.9) -> Array:
    """Return rows (1, 12, 6) of an object at a place, with so many boxes of so many classes; all others are empty."""
    rows = np.zeros((1, ROWS, 6), np.float32)
    for index in range(boxes):
        shift = 0.01 * index
        corners = np.array([place + shift, 0.2, place + 0.4 + shift, 0.7]) * SIDE
        rows[0, index] = [*corners, score - 0.05 * index, index % kinds]
    return rows


def judged(*images: Array, **detect: Any) -> DetectHead:
    head = detect_head("end2end", (1, ROWS, 6), score_activation="none", **detect)
    assert head.recipe.nms_free
    return judge_suppression(head, [(one,) for one in images], FRAME)


def test_several_boxes_of_an_object_are_suppressed() -> None:
    assert not judged(image(0.1, 4), image(0.5, 4)).recipe.nms_free
    assert not judged(image(0.1, 4)).recipe.nms_free


@pytest.mark.parametrize(
    "images",
    [
        [image(0.1, 1), image(0.5, 1), image(0.3, 1), image(0.0, 1)],
        [image(0.1, 2), image(0.5, 2)],
        [image(0.1, 4, kinds=4), image(0.5, 4, kinds=4)],
        [image(0.1, 4, score=0.29), image(0.5, 4, score=0.29)],
        [*[image(0.1 * (index % 5), 1) for index in range(16)], image(0.5, 4)],
        [image(0.1, 9), image(0.1, 9)],
        [image(0.1, 0), image(0.5, 0)],
    ],
    ids=[
        "one box each",
        "only two repeat another",
        "another class",
        "unclear",
        "one image of many",
        "the same in every image, as without training",
        "nothing is found",
    ],
)
def test_others_give_each_object_one_box(images: list[Array]) -> None:
    assert judged(*images).recipe.nms_free


CLEAR = [image(0.1, 1), image(0.5, 1), image(0.3, 1)]


@pytest.mark.parametrize(
    ("images", "is_assumed"),
    [
        (CLEAR, False),
        (CLEAR[:2], True),
        ([image(0.1, 2), image(0.5, 2)], True),
        ([image(0.1, 4, kinds=4), image(0.5, 4, kinds=4)], False),
        ([image(0.1, 4, score=0.29), image(0.5, 4, score=0.29)], True),
        ([image(0.1, 9), image(0.1, 9)], True),
        ([image(0.1, 0), image(0.5, 0)], True),
    ],
    ids=["three", "two", "two repeat", "classes", "unclear", "the same everywhere", "nothing"],
)
def test_what_too_few_clear_detections_show_is_assumed(
    images: list[Array], *, is_assumed: bool
) -> None:
    head = detect_head("end2end", (1, ROWS, 6), score_activation="none")
    raw = [(one,) for one in images]

    assert ("nms_free" in judge_suppression(head, raw, FRAME).assumed) == is_assumed
    for sure in (
        replace(head, is_written_so=True),
        replace(head, is_known=True),
        replace(head, assumes_nms_free=False),
    ):
        assert "nms_free" not in judge_suppression(sure, raw, FRAME).assumed


def overlapping(place: float, boxes: int, shift: float) -> Array:
    """Return rows (1, 12, 6) of boxes of one class, each this share of its width beside the one before."""
    rows = np.zeros((1, ROWS, 6), np.float32)
    for index in range(boxes):
        left = place + 0.4 * shift * (index % 2)
        rows[0, index] = [left * SIDE, 0.2 * SIDE, (left + 0.4) * SIDE, 0.7 * SIDE, 0.9, 0]
    return rows


def test_boxes_that_overlap_less_show_it_where_most_do() -> None:
    """Beside by 0.2 and 0.4 of the width, two boxes have an IoU of 0.67 and 0.43."""
    places = [0.05 * index for index in range(8)]
    assert not judged(*(overlapping(one, 2, 0.2) for one in places)).recipe.nms_free
    assert judged(*(overlapping(one, 2, 0.4) for one in places)).recipe.nms_free
    assert judged(*(overlapping(one, 2, 0.2) for one in places[:5])).recipe.nms_free
    crowd = [*(overlapping(one, 2, 0.2) for one in places), *[image(0.1, 1)] * 2]
    mixed = [*crowd, *(image(0.05 * index, 1) for index in range(8))]
    assert judged(*mixed).recipe.nms_free


def on_the_grid(score: float = 0.1) -> Array:
    """Return rows (1, 80, 6) of a box for each cell of the strides 8 and 16, none of them clear."""
    cells, strides = grid_cells((SIDE, SIDE), (8, 16))
    rest = np.broadcast_to([score, 0], (len(cells), 2))
    rows = np.concatenate([cells * strides, (cells + 1) * strides, rest], axis=1)
    return rows[None].astype(np.float32)


def test_boxes_that_follow_the_cells_of_a_grid_are_suppressed_whatever_is_found() -> None:
    rows = on_the_grid()
    moved = rows + np.array([0.5] * 4 + [0] * 2, np.float32)
    head = detect_head("end2end", rows.shape, score_activation="none")
    head = replace(head, assumes_nms_free=True)

    settled = judge_suppression(head, [(rows,), (moved,)], FRAME)

    assert not settled.recipe.nms_free
    assert "nms_free" not in settled.assumed


def test_the_same_boxes_in_the_order_of_their_scores_show_nothing() -> None:
    order = np.random.default_rng(0).permutation(80)
    rows = on_the_grid()[:, order]
    head = replace(detect_head("end2end", rows.shape), assumes_nms_free=True)

    settled = judge_suppression(head, [(rows,)], FRAME)

    assert settled.recipe.nms_free
    assert "nms_free" in settled.assumed


def test_what_is_stated_or_known_is_not_judged() -> None:
    images = image(0.1, 4), image(0.5, 4)
    assert judged(*images, nms_free=True).recipe.nms_free
    head = replace(detect_head("end2end", (1, ROWS, 6), score_activation="none"), is_known=True)
    assert judge_suppression(head, [(one,) for one in images], FRAME).recipe.nms_free


def by_form(*images: Array) -> DetectHead:
    head = detect_head("end2end", (1, ROWS, 6), score_activation="none")
    head = replace(head, is_free_by_form=True)
    return judge_suppression(head, [(one,) for one in images], FRAME)


def test_a_form_alone_is_believed_less_than_a_graph() -> None:
    """Of 16 clear detections 3 repeat another one, 19 %."""
    images = [*[image(0.05 * (index % 10), 1) for index in range(12)], image(0.55, 4)]
    assert judged(*images).recipe.nms_free
    assert not by_form(*images).recipe.nms_free


@pytest.mark.parametrize(
    ("single", "boxes", "is_assumed"),
    [(9, 1, False), (8, 1, True), (14, 2, True), (19, 2, False)],
    ids=["ten", "nine", "one of sixteen repeats", "one of twenty-one repeats"],
)
def test_a_form_alone_needs_more_clear_detections(
    single: int, boxes: int, *, is_assumed: bool
) -> None:
    images = [image(0.05 * (index % 10), 1) for index in range(single)]
    head = by_form(*images, image(0.55, boxes))
    assert head.recipe.nms_free
    assert ("nms_free" in head.assumed) == is_assumed


def test_further_images_settle_what_was_assumed_and_nothing_else() -> None:
    assumed = by_form(image(0.1, 0))
    assert "nms_free" in assumed.assumed

    def again(*images: Array) -> DetectHead:
        return judge_again(assumed, [(one,) for one in images], FRAME)

    repeated = again(image(0.1, 4), image(0.5, 4))
    assert (repeated.recipe.nms_free, "nms_free" in repeated.assumed) == (False, False)
    single = again(*[image(0.05 * (index % 10), 1) for index in range(12)])
    assert (single.recipe.nms_free, "nms_free" in single.assumed) == (True, False)
    assert again(image(0.1, 0)) == assumed
