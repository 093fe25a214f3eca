"""Accuracy of classes, labels and masks, worked out by hand."""

import numpy as np
import pytest

from service.labeled.scores import (
    chance,
    class_scores,
    confusion,
    is_at_chance,
    label_scores,
    mask_scores,
)


def test_classes_have_top1_and_with_more_than_five_of_them_top5() -> None:
    ranked = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [5, 4, 3, 2, 1], [2, 1, 0, 3, 4]]
    scores = class_scores(ranked, [0, 0, 0, 2], 6)
    assert scores.total == {"top1": 0.5, "top5": 0.75}
    assert scores.by_class == {0: {"accuracy": pytest.approx(1 / 3)}, 2: {"accuracy": 1.0}}
    assert class_scores([[0, 1]], [1], 2).total == {"top1": 0.0}


def test_labels_have_accuracy_and_f1_each_and_together() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    found = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)

    scores = label_scores(found, truth)

    # First label: 2 hits, 1 false. Second: 1 hit, 1 missed. The third neither occurs nor is assigned.
    assert scores.by_class == {
        0: {"accuracy": 0.75, "f1": pytest.approx(0.8)},
        1: {"accuracy": 0.75, "f1": pytest.approx(2 / 3)},
    }
    assert scores.total == {
        "accuracy": pytest.approx(10 / 12),
        "exact_match": 0.5,
        "f1_micro": pytest.approx(6 / 8),
        "f1_macro": pytest.approx((0.8 + 2 / 3) / 2),
    }


def test_images_without_any_label_that_get_none_are_right() -> None:
    nothing = np.zeros((2, 3), bool)
    assert set(label_scores(nothing, nothing).total.values()) == {1.0}


def test_masks_have_the_mean_iou_and_ignored_pixels_do_not_count() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 255, 1, 1]], np.uint8)
    found = np.array([[0, 1, 1, 1], [0, 2, 1, 255]], np.uint8)  # 255: a pixel that was not seen

    scores = mask_scores(confusion(found, truth, 3))

    # Class 0: 2 of 3. Class 1: 3 right, 1 unseen, 1 false: 3 of 5. Class 2 occurs only where it does not count.
    assert scores.total["miou"] == pytest.approx((2 / 3 + 3 / 5) / 2)
    assert scores.total["pixel_accuracy"] == pytest.approx(5 / 7)
    assert scores.by_class == {0: {"iou": pytest.approx(2 / 3)}, 1: {"iou": pytest.approx(0.6)}}


def test_a_class_that_is_only_found_lowers_the_mean() -> None:
    counts = confusion(np.array([[0, 2]], np.uint8), np.array([[0, 0]], np.uint8), 3)
    assert mask_scores(counts).total["miou"] == pytest.approx((0.5 + 0) / 2)


def test_256_classes_leave_room_for_pixels_that_were_not_seen() -> None:
    found, truth = np.array([[254, 255]], np.uint8), np.array([[254, 254]], np.uint8)
    assert mask_scores(confusion(found, truth, 255)).total["miou"] == 0.5


def test_answers_of_one_class_are_at_chance_and_good_ones_are_not() -> None:
    truth = [0, 1, 2, 3] * 25
    by_chance = chance([1] * 100, truth)
    assert by_chance == pytest.approx(0.25)
    assert is_at_chance(0.25, 0.25, 100)
    assert not is_at_chance(0.9, chance(truth, truth) or 0, 100)


def test_a_truth_of_one_class_shows_nothing_about_chance() -> None:
    assert chance([3, 3, 3], [3, 3, 3]) is None
