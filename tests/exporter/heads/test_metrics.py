"""How far two answers lie apart."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from exporter.heads.metrics import (
    absolute_difference,
    average_precision,
    iou_matrix,
    mask_iou,
    relative_difference,
    resize_bilinear,
    suppress,
)
from exporter.network import Array

BOXES = np.array([[0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6]], np.float32)


def test_a_difference_is_a_share_of_the_largest_value() -> None:
    assert relative_difference(np.array([100.0, 1.0]), np.array([100.0, 2.0])) == 0.01


@pytest.mark.parametrize("difference", [relative_difference, absolute_difference])
def test_infinity_less_infinity_differs_without_a_warning(
    difference: Callable[[Array, Array], float],
) -> None:
    """A warning of NumPy is an error in these tests."""
    endless = np.array([np.inf, 1.0])
    assert difference(endless, endless) == np.inf


def test_no_number_differs_infinitely() -> None:
    assert relative_difference(np.array([np.nan]), np.array([1.0])) == np.inf


def test_iou_of_halves_and_strangers() -> None:
    np.testing.assert_allclose(iou_matrix(BOXES[:1], BOXES), [[1, 0.5, 0]])


def test_mask_iou_is_the_mean_over_the_classes_of_either() -> None:
    assert mask_iou(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])) == pytest.approx(
        (1 / 2 + 2 / 3) / 2
    )


def test_suppression_keeps_the_best_and_other_classes() -> None:
    scores = np.array([0.5, 0.9, 0.1])
    same, other = np.array([1, 1, 1]), np.array([1, 2, 1])
    assert suppress(BOXES, scores, same, 0.4).tolist() == [1, 2]
    assert suppress(BOXES, scores, other, 0.4).tolist() == [1, 0, 2]


def test_average_precision_of_one_hit_and_one_miss() -> None:
    found = (BOXES[[0, 2]], np.array([0.9, 0.8]))
    assert average_precision(found, BOXES[:1]) == 1
    assert average_precision(found, BOXES[[0, 1]] + [[0, 0, 0, 0], [9, 9, 9, 9]]) == 0.5


def test_bilinear_enlargement_keeps_constants_and_repeats_edges() -> None:
    maps = np.array([[[[0.0, 4.0]]]], np.float32)
    np.testing.assert_allclose(resize_bilinear(maps, (1, 4))[0, 0, 0], [0, 1, 3, 4])


@pytest.mark.parametrize("most", [None, 25])
def test_suppression_keeps_what_torchvision_keeps_in_each_class(most: int | None) -> None:
    rng = np.random.default_rng(3)
    corners = rng.random((600, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.0, 0.4, (600, 2))], axis=1)
    scores, classes = rng.random(600), rng.integers(0, 4, 600)
    by_class = [np.flatnonzero(classes == kind) for kind in range(4)]
    kept = np.concatenate(
        [one[nms(torch.tensor(boxes[one]), torch.tensor(scores[one]), 0.5)] for one in by_class]
    )
    best_first = kept[np.argsort(-scores[kept])]

    found = suppress(boxes, scores, classes, iou=0.5, most=most)

    assert 25 < len(kept) < 600
    assert found.tolist() == best_first[:most].tolist()
