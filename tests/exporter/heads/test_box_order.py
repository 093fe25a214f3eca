"""Whether x or y comes first is seen where boxes are found again in mirrored images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.box_order import judge_order
from exporter.heads.boxes import EXCHANGED_ORDER
from exporter.heads.detect import DetectHead
from exporter.network import Array
from tests.exporter.heads.dense import as_form, relative_to_cells
from tests.exporter.heads.judged import FRAME, detect_head

SIDE = FRAME.height
Frames = NDArray[np.uint8]


def frames(count: int = 4, *, middle: bool = False) -> Frames:
    """Return black frames with a bright rectangle each, away from the diagonal, or in the middle."""
    rng = np.random.default_rng(5)
    found = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    for frame in found:
        x, y = (22, 26) if middle else (rng.integers(2, 20), rng.integers(30, 44))
        frame[y : y + 12, x : x + 20] = 255
    return found


class Finder:
    """Finds the bright rectangle, as a detector whose boxes have this form."""

    def __init__(self, form: str, score: float = 0.9) -> None:
        self.form, self.score = form, score

    def __call__(self, batch: Frames) -> Sequence[Array]:
        boxes = []
        for frame in batch:
            y, x = np.nonzero(frame[..., 0])
            boxes.append([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
        corners = as_form(np.array(boxes, np.float64), self.form, (SIDE, SIDE))
        return corners, np.full((len(batch), 1, 1), self.score)


def judged(finder: Any, found: Frames | None = None) -> DetectHead:
    head = detect_head("pair", (1, 1, 4), (1, 1, 1), score_activation="none")
    return judged_by(head, finder, frames() if found is None else found)


def judged_by(head: DetectHead, finder: Any, found: Frames) -> DetectHead:
    return judge_order(head, found, [finder(frame[None]) for frame in found], FRAME, finder)


def test_boxes_that_are_mirrored_with_the_image_are_read_rightly() -> None:
    head = judged(Finder("xyxy"))
    assert head.recipe.box_format == "xyxy"
    assert head.assumed == ("unit",)


def test_boxes_with_y_before_x_are_read_so() -> None:
    head = judged(Finder("yxyx"))
    assert head.recipe.box_format == "yxyx"
    assert head.assumed == ("unit",)


def test_centers_with_y_before_x_are_read_so() -> None:
    head = detect_head("detr", (1, 1, 5), score_activation="none")

    def rows(batch: Frames) -> Sequence[Array]:
        return (np.concatenate(Finder("cycxhw")(batch), axis=2),)

    settled = judged_by(head, rows, frames())
    assert (settled.recipe.box_format, settled.assumed) == ("cycxhw", ("unit",))


class Relative:
    """Finds the bright rectangle as YOLOX does: each cell has its box as an offset and the logarithm of the size."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order = order

    def __call__(self, batch: Frames) -> Sequence[Array]:
        (boxes, _) = Finder("cxcywh")(batch)
        relative = relative_to_cells(boxes * SIDE, (SIDE, SIDE))
        sure = np.full((*relative.shape[:2], 2), 0.9)
        return (np.concatenate([relative[..., list(self.order)], sure], axis=2),)


def test_boxes_relative_to_cells_show_their_order_too() -> None:
    head = detect_head("yolox", (1, 84, 6), score_activation="none")
    head = replace(head, assumed=("format",))
    assert judged_by(head, Relative((0, 1, 2, 3)), frames()).assumed == ()
    with pytest.raises(RecipeError, match=r"if y came before x.*exchange the columns"):
        judged_by(head, Relative(EXCHANGED_ORDER), frames())


@pytest.mark.parametrize(
    ("finder", "found"),
    [
        (Finder("yxyx"), frames(middle=True)),
        (Finder("yxyx", 0.2), frames()),
        (Finder("yxyx"), frames(2)),
    ],
    ids=["in the middle", "not sure of any", "of two images"],
)
def test_what_mirrored_images_do_not_show_stays_assumed(finder: Finder, found: Frames) -> None:
    head = judged(finder, found)
    assert head.recipe.box_format == "xyxy"
    assert "format" in head.assumed


def test_boxes_that_do_not_follow_the_image_show_nothing() -> None:
    rng = np.random.default_rng(1)

    def anywhere(batch: Frames) -> Sequence[Array]:
        first = rng.uniform(0, 0.7, (len(batch), 1, 2))
        return np.concatenate([first, first + 0.2], axis=2), np.full((len(batch), 1, 1), 0.9)

    assert "format" in judged(anywhere).assumed


@pytest.mark.parametrize("form", ["xyxy", "yxyx"])
def test_boxes_that_are_the_same_in_every_image_show_nothing(form: str) -> None:
    """They lie in the middle from top to bottom, so that read as x they look mirrored."""
    corners = as_form(np.array([[[4, 22, 24, 42]]], np.float64), form, (SIDE, SIDE))

    def same(batch: Frames) -> Sequence[Array]:
        boxes = np.repeat(corners, len(batch), axis=0)
        return boxes, np.full((len(batch), 1, 1), 0.9)

    head = judged(same)
    assert head.recipe.box_format == "xyxy"
    assert "format" in head.assumed


def test_a_stated_form_is_not_looked_at() -> None:
    def never(_batch: Frames) -> Sequence[Array]:
        raise AssertionError

    head = detect_head("pair", (1, 1, 4), (1, 1, 1), score_activation="none", box_format="xyxy")
    outputs = [Finder("yxyx")(frame[None]) for frame in frames()]
    assert judge_order(head, frames(), outputs, FRAME, never).recipe.box_format == "xyxy"
