"""Figures of agreement, by hand."""

from typing import Any

import numpy as np
import pytest

from service.card import Accuracy, Card
from service.heads.agreement import (
    BOXES,
    CLASSES,
    MASKS,
    VECTORS,
    box_figures,
    class_figures,
    keeps_accuracy,
    mask_figures,
    vector_figures,
)
from tests.servables import color_card

FEATURES = {"features": np.ones(2, np.float32)}
CARD = color_card()
SEVERAL = CARD.model_copy(update={"multi_label": True})


def classes(*rows: list[float]) -> list[dict[str, Any]]:
    return [{"probabilities": np.array(row, np.float32), **FEATURES} for row in rows]


def test_only_clear_best_classes_must_stay_and_the_change_is_that_of_the_best_one() -> None:
    expected = classes([0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8])
    found = classes([0.45, 0.3, 0.25], [0.35, 0.4, 0.25], [0.5, 0.3, 0.2])
    figures = class_figures(found, expected, CARD)
    assert figures["clear"] == 2
    assert figures["top_class"] == 0.5
    assert figures["probability_change"] == pytest.approx((0.05 + 0.05 + 0.6) / 3)


def test_where_an_image_has_several_classes_each_is_decided_at_one_half() -> None:
    expected = classes([0.9, 0.48, 0.1], [0.2, 0.56, 0.1])
    same = classes([0.8, 0.51, 0.2], [0.2, 0.51, 0.1])
    assert class_figures(same, expected, SEVERAL)["top_class"] == 1
    other = classes([0.9, 0.48, 0.1], [0.2, 0.49, 0.1])
    figures = class_figures(other, expected, SEVERAL)
    assert figures["top_class"] == 0.5
    assert figures["probability_change"] == pytest.approx(0.035)


def test_a_value_that_is_no_number_never_agrees() -> None:
    expected = classes(*[[0.9, 0.05, 0.05]] * 9)
    broken = classes(*[[0.9, 0.05, 0.05]] * 8, [0.9, float("nan"), 0.05])
    assert CLASSES.shortfall(class_figures(expected, expected, CARD), reduced=True) == ""
    figures = class_figures(broken, expected, CARD)
    assert "top_class 0.8889 where at least 1" in CLASSES.shortfall(figures, reduced=True)
    nothing = class_figures(classes(*[[float("nan")] * 3] * 9), expected, CARD)
    assert "probability_change nan" in CLASSES.shortfall(nothing, reduced=True)


def test_other_kernels_in_the_same_precision_need_no_clear_class() -> None:
    unsure = classes([0.35, 0.33, 0.32])
    figures = class_figures(unsure, unsure, CARD)
    assert CLASSES.shortfall(figures, reduced=False) == ""
    assert CLASSES.shortfall(figures, reduced=True) == "clear 0 where at least 8 is needed"


def test_masks_agree_by_the_mean_iou_of_the_classes_that_occur() -> None:
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    mask = truth.copy()
    mask[2, 0] = 1
    found, expected = (dict[str, Any](mask=one, **FEATURES) for one in (mask, truth))
    # Class 1 has 8 of 9 pixels in common, class 0 7 of 8.
    figures = mask_figures([found, expected], [expected, expected], CARD)
    assert figures["mask_iou"] == pytest.approx(((8 / 9 + 7 / 8) / 2 + 1) / 2)
    assert "mask_iou 0.9" in MASKS.shortfall(figures, reduced=True)
    assert MASKS.shortfall(mask_figures([expected], [expected], CARD), reduced=True) == ""


def boxes(*rows: tuple[float, float, int]) -> dict[str, Any]:
    """Return detections by left edge, score and class, each a tenth of the frame wide and high."""
    corners = [(left, 0, left + 0.1, 0.1) for left, _, _ in rows]
    return {
        "boxes": np.array(corners, np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, _ in rows], np.float32),
        "classes": np.array([kind for _, _, kind in rows], np.int32),
        **FEATURES,
    }


def test_detections_agree_by_the_average_precision_of_each_class() -> None:
    expected = [boxes((0, 0.9, 0), (0.5, 0.8, 1)), boxes((0.2, 0.7, 1), (0.8, 0.2, 0))]
    assert box_figures(expected, expected, CARD)["map50"] == 1
    # Class 1: the best is right, one is missed; the third of the list is at another place.
    found = [boxes((0, 0.9, 0), (0.5, 0.8, 1)), boxes((0.6, 0.7, 1))]
    figures = box_figures(found, expected, CARD)
    assert figures["map50"] == pytest.approx((1 + 0.5) / 2)
    assert "map50 0.75 where at least 0.98" in BOXES.shortfall(figures, reduced=True)


def test_a_class_that_only_one_side_sees_counts_nothing_and_no_detection_proves_nothing() -> None:
    expected, more = [boxes((0, 0.9, 0))], [boxes((0, 0.9, 0), (0.5, 0.9, 2))]
    assert box_figures(more, expected, CARD)["map50"] == 0.5
    assert box_figures(expected, more, CARD)["map50"] == 0.5
    figures = box_figures([boxes()], [boxes()], CARD)
    assert "map50 0 where" in BOXES.shortfall(figures, reduced=True)


def test_boxes_compete_whole_and_are_compared_as_an_image_shows_them() -> None:
    """Two objects whose boxes are the same in the frame, and one beside it."""
    edges = [[-0.8, 0.2, 0.4, 0.6], [-0.05, 0.2, 0.4, 0.6], [1.1, 0, 1.5, 0.3]]
    three = boxes((0, 0.9, 0), (0, 0.8, 0), (0, 0.7, 1))
    expected = {**three, "boxes": np.array(edges, np.float32)}
    farther = np.array([[5, 0, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    moved = {**expected, "boxes": expected["boxes"] - farther}
    assert box_figures([expected], [expected], CARD)["map50"] == 1
    cut = {**expected, "boxes": expected["boxes"].clip(0, 1)}
    assert box_figures([cut], [expected], CARD)["map50"] == 0.5
    # Farther beyond the frame the first two overlap more, and the second one is dropped.
    assert box_figures([moved], [expected], CARD)["map50"] == 0.5


def test_a_box_is_matched_once() -> None:
    twice = [boxes((0, 0.9, 0), (0.45, 0.8, 0))]
    near = [boxes((0, 0.9, 0), (0.001, 0.85, 0), (0.45, 0.8, 0))]
    card = CARD.model_copy(update={"nms_free": True})  # nothing is suppressed
    # Right, wrong, right: the recall rises to one half at precision 1, to 1 at two thirds.
    assert box_figures(near, twice, card)["map50"] == pytest.approx((1 + 2 / 3) / 2)


def test_vectors_agree_by_the_least_cosine() -> None:
    expected = [{"features": np.array(one, np.float32)} for one in ([1, 0], [1, 1])]
    found = [{"features": np.array(one, np.float32)} for one in ([2, 0], [1, 0])]
    figures = vector_figures(found, expected, CARD)
    assert figures["features_cosine"] == pytest.approx(0.5**0.5)
    assert VECTORS.shortfall(figures, reduced=True)
    assert not VECTORS.shortfall(vector_figures(expected, expected, CARD), reduced=True)


@pytest.mark.parametrize(
    ("variant", "servable", "keeps"),
    [
        ({"top1": 0.746, "top5": 0.92}, {"top1": 0.75, "top5": 0.92}, True),
        ({"top1": 0.744, "top5": 0.92}, {"top1": 0.75, "top5": 0.92}, False),
        ({"top1": 0.75}, {"top1": 0.75, "top5": 0.92}, False),
        ({}, {}, False),
        (None, {"top1": 0.75}, False),
        ({"top1": 0.75}, None, False),
    ],
)
def test_half_a_point_of_accuracy_may_be_lost(variant: Any, servable: Any, keeps: bool) -> None:  # noqa: FBT001
    def card(scores: dict[str, float] | None) -> Card:
        accuracy = None if scores is None else Accuracy(images=100, scores=scores)
        return CARD.model_copy(update={"accuracy": accuracy})

    assert keeps_accuracy(card(variant), card(servable)) is keeps
