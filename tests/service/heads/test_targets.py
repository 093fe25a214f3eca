"""What is explained: how much of a class, a box, an area or a vector the outputs for a copy still show."""

import re
from typing import Literal

import numpy as np
import pytest

from service.card import Card, ImageInput
from service.errors import InvalidParameterError
from service.heads.targets import (
    AreaTarget,
    BoxTarget,
    ClassTarget,
    FeatureTarget,
    Target,
    TargetChoice,
    choose_area,
    choose_box,
    choose_class,
    choose_features,
    class_id_of,
)
from tests.servables import color_card
from tests.source_images import source_of

WHOLE = np.array([0, 0, 1, 1], np.float32)
IN_FRAME = np.array([0.2, 0.2, 0.6, 0.6], np.float32)
CUP = BoxTarget("cup", 1, 0.9, (0, 0, 1, 1), IN_FRAME, 0, WHOLE)
CARD = color_card()
SOURCE = source_of(200, 100)


def masked(*ids: int) -> dict[str, np.ndarray]:
    mask = np.array([ids], np.uint8)
    return {"mask": mask, "confidence": np.full_like(mask, 204)}


def card(*labels: str, background_id: int | None = 0) -> Card:
    return CARD.model_copy(update={"labels": labels, "background_id": background_id})


BOXES = {
    "boxes": np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32),
    "scores": np.array([0.9, 0.6], np.float32),
    "classes": np.array([0, 2], np.int32),
}


@pytest.mark.parametrize("side", [1, 3, 8, 40])
def test_a_box_has_its_share_of_a_grid_and_most_in_its_middle(side: int) -> None:
    in_frame = np.array([0.25, 0.1, 0.75, 0.4], np.float32)
    covered = BoxTarget("cup", 1, 0.9, (0, 0, 1, 1), in_frame, 0, WHOLE).place(side, side)
    assert covered.mean() == pytest.approx(0.5 * 0.3, abs=1e-5)
    assert 0 <= covered.min() <= covered.max() <= 4
    outside = np.arange(side)[None, :] / side >= 0.75
    assert not covered[np.broadcast_to(outside, covered.shape)].any()
    row, column = np.unravel_index(covered.argmax(), covered.shape)
    assert abs((row + 0.5) / side - 0.25) <= 1 / side
    assert abs((column + 0.5) / side - 0.5) <= 1 / side


def test_an_area_covers_its_share_of_a_grid() -> None:
    area = np.zeros((8, 8), np.bool_)
    area[:4, :2] = True
    covered = AreaTarget("cat", 1, area, 0.125, 2).place(2, 2)
    np.testing.assert_allclose(covered, np.array([[0.5, 0], [0, 0]]), atol=1e-6)


def test_classes_and_vectors_have_no_place() -> None:
    targets: list[Target] = [
        ClassTarget("cup", 0, 0.5, 1),
        FeatureTarget(np.ones(4, np.float32)),
    ]
    assert [target.place(3, 3) for target in targets] == [None, None]


def test_a_box_is_scored_by_its_best_candidate_of_the_class() -> None:
    boxes = np.array([[0.2, 0.2, 0.6, 0.6], [0.2, 0.2, 0.6, 0.4], [0.7, 0.7, 0.9, 0.9]], np.float32)
    outputs = {"boxes": boxes, "scores": np.array([0.3, 0.8, 1.0], np.float32)}
    assert CUP.score({**outputs, "classes": np.array([1, 1, 1])}) == pytest.approx(0.4)
    assert CUP.score({**outputs, "classes": np.array([1, 2, 1])}) == pytest.approx(0.3)
    assert CUP.score({**outputs, "classes": np.array([2, 2, 2])}) == 0


def test_an_area_is_scored_by_its_mean_probability() -> None:
    target = AreaTarget("cat", 1, np.array([[True, True, False]]), 2 / 3, 2)
    assert target.score(masked(1, 1, 1)) == pytest.approx(0.8)
    assert target.score(masked(1, 0, 1)) == pytest.approx(0.5)


def test_a_vector_is_scored_by_its_cosine() -> None:
    target = choose_features({"features": np.array([3, 4])}, SOURCE, CARD, TargetChoice())
    assert target.score({"features": np.array([6, 8])}) == pytest.approx(1)
    assert target.score({"features": np.array([4, -3])}) == pytest.approx(0)
    assert target.score({"features": np.array([-3, -4])}) == 0
    assert target.score({"features": np.array([0, 0])}) == 0
    assert (target.caption, target.figures()) == ("2 features", {"features": 2})


def test_the_class_is_the_chosen_one_else_the_most_probable() -> None:
    outputs = {
        "probabilities": np.array([0.2, 0.7, 0.1], np.float32),
        "logits": np.array([1, 2.25, 0], np.float32),
    }
    best = choose_class(outputs, SOURCE, CARD, TargetChoice())
    assert best.figures() == {"label": "green", "class_id": 1, "probability": 0.7, "logit": 2.25}
    assert best.caption == "green 70%"
    chosen = choose_class(outputs, SOURCE, CARD, TargetChoice(class_id=2))
    assert chosen.label == "blue"
    assert chosen.score(outputs) == pytest.approx(0.1)


def test_the_box_is_counted_from_the_best_one() -> None:
    best, second = (choose_box(BOXES, SOURCE, CARD, TargetChoice(box=index)) for index in (0, 1))
    assert (best.label, second.label) == ("red", "blue")
    assert second.figures()["box"] == {"x_min": 100, "y_min": 50, "x_max": 200, "y_max": 100}
    assert second.figures()["index"] == 1
    np.testing.assert_allclose(second.in_frame, [0.5, 0.5, 1, 1], atol=1e-6)
    assert second.caption == "blue 60%"


def test_boxes_that_overlap_are_two_where_the_network_gives_each_object_one() -> None:
    twice = {name: np.repeat(values[:1], 2, axis=0) for name, values in BOXES.items()}
    free = CARD.model_copy(update={"nms_free": True})
    assert choose_box(twice, SOURCE, free, TargetChoice(box=1)).index == 1
    with pytest.raises(InvalidParameterError, match="finds one thing"):
        choose_box(twice, SOURCE, CARD, TargetChoice(box=1))


def test_boxes_of_a_chosen_class_are_counted_alone() -> None:
    assert choose_box(BOXES, SOURCE, CARD, TargetChoice(class_id=2)).label == "blue"
    with pytest.raises(InvalidParameterError, match="finds one thing of class 'blue'"):
        choose_box(BOXES, SOURCE, CARD, TargetChoice(class_id=2, box=1))


@pytest.mark.parametrize(
    ("scores", "choice", "detail"),
    [
        ([0.1, 0.2], TargetChoice(), "finds nothing in this image with a score of 0.3 or more"),
        ([0.9, 0.2], TargetChoice(class_id=2), "finds nothing of class 'blue' in this image"),
        ([0.9, 0.2], TargetChoice(box=1), "finds one thing in this image, which is box 0"),
        ([0.9, 0.6], TargetChoice(box=5), "counted from 0: boxes 0 to 1; there is no box 5"),
    ],
)
def test_a_box_that_there_is_not_is_refused_with_those_that_there_are(
    scores: list[float], choice: TargetChoice, detail: str
) -> None:
    outputs = {**BOXES, "scores": np.array(scores, np.float32)}
    with pytest.raises(InvalidParameterError, match=re.escape(detail)):
        choose_box(outputs, SOURCE, CARD, choice)


def test_a_box_in_a_letterbox_is_carried_back_to_the_frame() -> None:
    letterbox = source_of(200, 100, ImageInput(height=100, width=100, resize="letterbox"))
    outputs = {**BOXES, "boxes": np.array([[0, 0.25, 0.5, 0.5], [0, 0.25, 1, 0.75]], np.float32)}
    best = choose_box(outputs, letterbox, CARD, TargetChoice())
    assert best.box == pytest.approx((0, 0, 100, 50))
    np.testing.assert_allclose(best.in_frame, [0, 0.25, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
def test_a_box_that_reaches_beyond_the_image_still_shows_all_of_itself(
    resize: Literal["letterbox", "stretch", "crop"],
) -> None:
    side = 120 if resize == "crop" else None
    frame = ImageInput(height=100, width=100, resize=resize, shorter_side=side)
    framed = source_of(200, 100, frame)
    outputs = {**BOXES, "boxes": np.array([[-1, -1, 0.5, 0.7], [0.2, 0.5, 0.9, 9]], np.float32)}
    for index, score in ((0, 0.9), (1, 0.6)):
        target = choose_box(outputs, framed, CARD, TargetChoice(box=index))
        assert target.score(outputs) == pytest.approx(score)
        assert target.in_frame.min() >= 0
        assert target.in_frame.max() <= 1


def test_the_area_is_the_largest_that_is_not_background() -> None:
    found = choose_area(
        masked(0, 0, 0, 2, 2, 1), SOURCE, card("none", "cat", "dog"), TargetChoice()
    )
    assert found.figures() == {"label": "dog", "class_id": 2, "fraction": 0.333333}
    assert found.caption == "dog, 33% of the image"


def test_padding_is_no_part_of_an_area() -> None:
    letterbox = source_of(200, 100, ImageInput(height=8, width=8, resize="letterbox"))
    mask = np.ones((8, 8), np.uint8)
    mask[2:6, :2] = 2
    outputs = {"mask": mask, "confidence": np.full((8, 8), 255, np.uint8)}
    found = choose_area(outputs, letterbox, card("none", "cat", "dog"), TargetChoice())
    assert found.figures() == {"label": "cat", "class_id": 1, "fraction": 0.75}
    assert not found.area[:2].any()
    assert not found.area[6:].any()


def test_without_a_background_class_0_is_a_thing() -> None:
    labels = card("sky", "cat", background_id=None)
    assert choose_area(masked(0, 0, 1), SOURCE, labels, TargetChoice()).label == "sky"


def test_an_area_that_is_not_there_is_refused() -> None:
    labels = card("none", "cat", "dog")
    with pytest.raises(InvalidParameterError, match="finds only background"):
        choose_area(masked(0, 0), SOURCE, labels, TargetChoice())
    with pytest.raises(InvalidParameterError, match=r"finds no 'dog' .*: none, cat"):
        choose_area(masked(0, 1), SOURCE, labels, TargetChoice(class_id=2))


@pytest.mark.parametrize(("wanted", "class_id"), [("red", 0), ("BLUE", 2), ("1", 1)])
def test_a_class_is_found_by_label_or_id(wanted: str, class_id: int) -> None:
    assert class_id_of(CARD, wanted) == class_id


@pytest.mark.parametrize(
    ("labels", "wanted", "detail"),
    [
        (("red", "green", "blue"), "gren", "near: green; or an id from 0 to 2"),
        (("red", "green", "blue"), "3", "0 to 2"),
        (("", "cat"), "0", "near: cat"),
        ((), "cat", "has no classes"),
    ],
)
def test_a_class_that_does_not_exist_is_refused(
    labels: tuple[str, ...], wanted: str, detail: str
) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(detail)):
        class_id_of(card(*labels), wanted)
