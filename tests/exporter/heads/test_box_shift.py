"""Boxes that do not move with the image are refused, with what they seem to be and the next step."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.box_shift import judge_changed
from exporter.heads.detect import DetectHead
from exporter.network import Array
from service.card import ImageInput
from tests.exporter.heads.dense import FORMS, as_form
from tests.exporter.heads.judged import detect_head

FRAME = ImageInput(height=128, width=192, resize="stretch")
SIZE = (FRAME.height, FRAME.width)
CELL = 16
WHITE = 255
Frames = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Find = Callable[[Frames], Sequence[Array]]


def frames(count: int = 6) -> Frames:
    """Return black frames with a white rectangle each."""
    rng = np.random.default_rng(5)
    found = np.zeros((count, *SIZE, 3), np.uint8)
    for frame in found:
        x, y = rng.integers(0, 110), rng.integers(0, 70)
        frame[y : y + 50, x : x + 70] = WHITE
    return found


def frames_that_are_cut() -> Frames:
    """Return frames whose rectangle is cut at the left or the right edge where they are moved."""
    found = np.zeros((8, *SIZE, 3), np.uint8)
    for index, frame in enumerate(found):
        x = (20 + index, 90 + index)[index % 2]
        frame[40:90, x : x + 70] = WHITE
    return found


def rectangles(batch: Frames) -> tuple[Boxes, NDArray[np.float64]]:
    """Return the white rectangle of each frame, xyxy in pixels (N, 1, 4), and a score (N, 1, 1), 0 for none."""
    boxes, scores = np.zeros((len(batch), 1, 4)), np.zeros((len(batch), 1, 1))
    for index, frame in enumerate(batch):
        y, x = np.nonzero(frame[..., 0] == WHITE)
        if len(y):
            boxes[index, 0] = x.min(), y.min(), x.max() + 1, y.max() + 1
            scores[index] = 0.9
    return boxes, scores


def finder(
    form: str, change: Callable[[Boxes], Boxes] = lambda boxes: boxes, unit: str = "frame"
) -> Find:
    """Return a detector that finds the rectangle, in this form, changed."""

    def find(batch: Frames) -> Sequence[Array]:
        boxes, scores = rectangles(batch)
        return change(as_form(boxes, form, SIZE if unit == "frame" else None)), scores

    return find


def from_the_bottom(corners: Boxes) -> Boxes:
    left, top, right, bottom = np.moveaxis(corners, -1, 0)
    return np.stack([left, 1 - bottom, right, 1 - top], axis=-1)


def in_halves(boxes: Boxes) -> Boxes:
    halves: Boxes = boxes * np.array([1, 1, 0.5, 0.5])
    return halves


def require_moved(
    find: Find,
    taken: str,
    found: Frames | None = None,
    *,
    is_stated: bool = False,
    unit: str = "frame",
) -> DetectHead:
    seen = frames() if found is None else found
    head = detect_head(
        "pair", (1, 1, 4), (1, 1, 1), score_activation="none", box_format=taken, box_unit=unit
    )
    outputs = [find(frame[None]) for frame in seen]
    return judge_changed(head, seen, outputs, FRAME, find, is_stated=is_stated)


@pytest.mark.parametrize("form", ["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw"])
def test_boxes_that_move_with_the_image_are_taken(form: str) -> None:
    require_moved(finder(form), form)


def test_y_from_the_bottom_is_refused_with_the_next_step() -> None:
    words = r"if y were counted from the bottom.*height - y.*state --box-format xyxy"
    with pytest.raises(RecipeError, match=words):
        require_moved(finder("xyxy", from_the_bottom), "xyxy")


def test_centers_from_the_bottom_are_refused_too() -> None:
    def turned(boxes: Boxes) -> Boxes:
        upside_down: Boxes = boxes * np.array([1, -1, 1, 1]) + np.array([0, 1, 0, 0])
        return upside_down

    with pytest.raises(RecipeError, match=r"counted from the bottom of the image \(cxcywh\)"):
        require_moved(finder("cxcywh", turned), "cxcywh")


@pytest.mark.parametrize("form", ["cxcywh", "cycxhw"])
def test_half_sizes_are_refused_with_the_next_step(form: str) -> None:
    words = r"if the sizes were half of width and height.*sizes doubled.*state --box-format"
    with pytest.raises(RecipeError, match=words):
        require_moved(finder(form, in_halves), form)


@pytest.mark.parametrize("change", [in_halves, from_the_bottom])
def test_a_form_that_is_stated_is_refused_where_it_is_clearly_wrong(
    change: Callable[[Boxes], Boxes],
) -> None:
    form = "cxcywh" if change is in_halves else "xyxy"
    words = rf"Boxes are stated to be {form}.*Export the network.*--images FOLDER"
    with pytest.raises(RecipeError, match=words):
        require_moved(finder(form, change), form, frames_that_are_cut(), is_stated=True)


@pytest.mark.parametrize("form", ["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw"])
def test_a_form_that_is_stated_rightly_is_believed(form: str) -> None:
    require_moved(finder(form), form, is_stated=True)


def test_a_form_that_its_library_settles_is_not_tried() -> None:
    runs: list[Frames] = []

    def find(frames: Frames) -> Sequence[Array]:
        runs.append(frames)
        return finder("xyxy", from_the_bottom)(frames)

    head = detect_head(
        "pair", (1, 1, 4), (1, 1, 1), score_activation="none", box_format="xyxy", box_unit="frame"
    )
    seen = frames()
    judge_changed(replace(head, is_known=True), seen, [find(seen[:1])], FRAME, find)
    assert len(runs) == 1


@pytest.mark.parametrize("stated", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_one_object_in_one_image_shows_whether_what_is_stated_is_right(
    form: str, stated: str
) -> None:
    """It is moved, mirrored and made smaller often enough."""
    if form == stated:
        require_moved(finder(form), form, frames(1), is_stated=True)
        return
    with pytest.raises(RecipeError, match=f"stated to be {stated}.*Give --box-format {form}"):
        require_moved(finder(form), stated, frames(1), is_stated=True)


@pytest.mark.parametrize("form", ["xyxy", "yxhw"])
def test_what_is_seen_of_a_form_that_is_stated_is_known(form: str) -> None:
    head = require_moved(finder(form), form, frames(1), is_stated=True)
    assert head.is_form_seen
    assert head.tested_by is None


@pytest.mark.parametrize("unit", ["frame", "pixel"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda boxes: boxes * 3, "its numbers were about 3 times those of"),
        (lambda boxes: boxes / 2, "its numbers were about 0.5 times those of"),
        (lambda boxes: boxes[..., [0, 2, 1, 3]], "both x before both y.*x_min, y_min, x_max"),
    ],
)
def test_numbers_on_another_scale_or_in_another_order_are_refused(
    change: Callable[[Boxes], Boxes], words: str, unit: str
) -> None:
    find = finder("xyxy", change, unit)
    with pytest.raises(RecipeError, match=f"stated to be xyxy.*{words}"):
        require_moved(find, "xyxy", frames(2), is_stated=True, unit=unit)


def test_numbers_of_minus_one_to_one_are_refused() -> None:
    find = finder("xyxy", lambda boxes: 2 * boxes - 1)
    with pytest.raises(RecipeError, match=r"about 2 times .* counted from the middle of the frame"):
        require_moved(find, "xyxy", frames(2), is_stated=True)


def test_the_order_that_is_not_stated_is_taken_as_it_is_seen() -> None:
    head = require_moved(finder("yxyx", unit="pixel"), "xyxy", frames(1), unit="pixel")
    assert head.recipe.box_format == "yxyx"
    assert "format" not in head.assumed


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        ("xywh", "cxcywh"),
        ("cxcywh", "xywh"),
        ("yxhw", "cycxhw"),
        ("cycxhw", "yxhw"),
        ("xywh", "xyxy"),
        ("cxcywh", "xyxy"),
        ("xyxy", "cxcywh"),
        ("yxyx", "cycxhw"),
    ],
)
def test_a_form_that_is_taken_for_another_one_is_named(form: str, taken: str) -> None:
    with pytest.raises(RecipeError, match=f"taken to be {taken}.*Give --box-format {form}"):
        require_moved(finder(form), taken)


def test_what_is_hardly_seen_shows_nothing() -> None:
    wrong = finder("xyxy", from_the_bottom)

    def unsure(batch: Frames) -> Sequence[Array]:
        boxes, scores = wrong(batch)
        return boxes, scores / 5

    require_moved(unsure, "xyxy")


def test_boxes_that_are_the_same_for_every_image_show_nothing() -> None:
    def same(batch: Frames) -> Sequence[Array]:
        boxes = np.tile([[[0.1, 0.2, 0.4, 0.6]]], (len(batch), 1, 1))
        return boxes, np.full((len(batch), 1, 1), 0.9)

    require_moved(same, "xyxy")
    head = require_moved(same, "xyxy", frames(3), is_stated=True)
    assert not head.is_form_seen
    assert head.tested_by == (3, 3)


def test_offsets_from_cells_are_refused_whatever_their_number_is() -> None:
    """A cell's numbers lie in 0–1, as boxes do, but are those of the cell that has the middle of the rectangle."""
    rows, columns = SIZE[0] // CELL, SIZE[1] // CELL

    def find(batch: Frames) -> Sequence[Array]:
        boxes, sure = rectangles(batch)
        middle = (boxes[..., :2] + boxes[..., 2:])[:, 0] / 2 / CELL
        sizes = np.log((boxes[..., 2:] - boxes[..., :2])[:, 0].clip(1) / CELL) / 4
        offsets = np.full((len(batch), rows * columns, 4), 0.5)
        scores = np.zeros((len(batch), rows * columns, 1))
        for index, (x, y) in enumerate(middle):
            cell = int(y) * columns + int(x)
            offsets[index, cell] = [x % 1, y % 1, *sizes[index]]
            scores[index, cell] = sure[index]
        return offsets, scores

    count = rows * columns
    head = detect_head(
        "pair",
        (1, count, 4),
        (1, count, 1),
        score_activation="none",
        box_format="cxcywh",
        box_unit="frame",
    )
    small = np.zeros((8, *SIZE, 3), np.uint8)
    for index, frame in enumerate(small):
        frame[50 : 70 + index, 80 + index : 110] = WHITE
    with pytest.raises(RecipeError, match=r"offsets from anchors.*with its decoding.*--box-format"):
        judge_changed(head, small, [find(frame[None]) for frame in small], FRAME, find)
