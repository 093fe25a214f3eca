"""In which order the columns of a row are: real images show it, and where they do not, the usual order is taken."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.boxes import DECODERS
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import SEVEN, SIX
from exporter.heads.row_order import settle_row_order
from tests.exporter.heads.judged import detect_head

BOX = (10.5, 20.5, 30.5, 40.5)


def settle(decoder: str, rows: Sequence[Sequence[float]], **stated: Any) -> DetectHead:
    """Return the head for rows of one image, of as many columns as the decoder has."""
    raw = np.array([rows], np.float32)
    usual = detect_head({SIX: "end2end", SEVEN: "yolov7"}[decoder], raw.shape, **stated)
    recipe = usual.recipe.model_copy(update={"decoder": decoder})
    head = settle_row_order(replace(usual, recipe=recipe, decoder=DECODERS[decoder]), [[raw]])
    assert isinstance(head, DetectHead)
    return head


@pytest.mark.parametrize(
    ("decoder", "row", "settled", "form"),
    [
        (SIX, [*BOX, 0.9, 3], "end2end", ("xyxy", "pixel")),
        (SIX, [3, 0.9, *BOX], "paddle", ("xyxy", "pixel")),
        (SEVEN, [0, *BOX, 3, 0.9], "yolov7", ("xyxy", "pixel")),
        (SEVEN, [0, *BOX, 0.9, 3], "efficientdet", ("yxyx", "pixel")),
        (SEVEN, [0, 3, 0.9, *BOX], "detection_output", ("xyxy", "frame")),
        (SIX, [*BOX, 3, 0.9], "class_score", ("xyxy", "pixel")),
        # Neither order: what follows says so.
        (SIX, [0.9, 3, *BOX], "end2end", ("xyxy", "pixel")),
    ],
)
def test_values_show_the_order(
    decoder: str, row: list[float], settled: str, form: tuple[str, str]
) -> None:
    head = settle(decoder, [row, [0] * len(row), [-1] * len(row)])
    assert head.recipe.decoder == settled
    assert (head.recipe.box_format, head.recipe.box_unit) == form
    found = head.decoder.split([np.array([[row]], np.float32)])
    if settled not in {"end2end", "yolov7"} or row[-2] == 0.9:
        assert found.classes is not None
        assert found.scores.tolist() == [[np.float32(0.9)]]
        assert found.classes.tolist() == [[3]]
        assert found.boxes.tolist() == [[list(BOX)]]


def test_what_is_stated_of_the_boxes_stays() -> None:
    head = settle(SEVEN, [[0, *BOX, 0.9, 3]], box_format="xyxy")
    assert (head.recipe.decoder, head.recipe.box_format) == ("efficientdet", "xyxy")


@pytest.mark.parametrize("rows", [[[0] * 6], [[3, 1, 1, 1, 1, 1]], [[0.5, 0.25, 1, 1, 0.5, 1]]])
def test_rows_that_show_nothing_or_both_are_read_in_the_usual_order(
    rows: list[list[float]],
) -> None:
    assert settle(SIX, rows).recipe.decoder == "end2end"


def test_the_row_of_an_image_without_a_box_has_no_score() -> None:
    decoder = settle(SIX, [[3, 0.9, *BOX]]).decoder
    empty = decoder.split([np.full((1, 1, 6), -1, np.float32)])
    assert empty.scores.tolist() == [[0]]


@pytest.mark.parametrize("box", [BOX, (0.25, 0.25, 0.5, 0.75)], ids=["pixel", "frame"])
@pytest.mark.parametrize("others", [[], [[0.75, 0.5, 0.9, 0.9, 0.5, 0.5, 1]]], ids=["one", "two"])
def test_rows_that_begin_with_a_box_have_no_image(
    box: tuple[float, ...], others: list[list[float]]
) -> None:
    """YOLOX's postprocessing gives box, objectness, class score and class, of which the last two would suit."""
    rows: list[Sequence[float]] = [[*box, 0.9, 0.8, 3], *others, [0] * 7]
    with pytest.raises(RecipeError, match=r"number of its image.*rows of box, score, class"):
        settle(SEVEN, rows)


def test_the_number_of_the_image_is_that_of_every_row() -> None:
    rows: list[Sequence[float]] = [[0, *BOX, 3, 0.9], [0, 1, 2, 3, 4, 0, 0.5], [-1] * 7]
    assert settle(SEVEN, rows).recipe.decoder == "yolov7"


def test_another_head_stays() -> None:
    head = ClassifyHead(3, multi_label=False)
    assert settle_row_order(head, []) is head
