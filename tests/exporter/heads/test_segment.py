"""Masks and confidences of class maps."""

from typing import Literal

import numpy as np
import pytest

from exporter.heads.segment import CLASS_PROBABILITIES, SegmentHead
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import FRAME, grafted


@pytest.mark.parametrize(
    ("channels", "size", "activation", "has_rest"),
    [
        (4, (8, 12), "softmax", False),
        (4, (2, 3), "softmax", False),
        (1, (8, 12), "sigmoid", False),
        (3, (4, 6), "none", False),
        (3, (4, 6), "none", True),
        (2, (8, 12), "sigmoid", True),
    ],
)
def test_the_nodes_compute_what_is_expected(
    channels: int,
    size: tuple[int, int],
    activation: Literal["softmax", "sigmoid", "none"],
    has_rest: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    head = SegmentHead(channels, size, activation, has_rest=has_rest)
    raw = [np.clip(np.abs(normal(2, channels, *size)), 0, 1)]

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert found["mask"].shape == found["confidence"].shape == (2, 8, 12)
    assert found["mask"].dtype == found["confidence"].dtype == np.uint8
    assert head.difference(found, expected) < 1e-6
    assert head.agreement(found, expected, 1.0) == [1, 1]


def test_one_map_has_two_classes() -> None:
    head = SegmentHead(1, (1, 2), "none")
    expected = head.expected(
        [np.array([[[[0.25, 0.75]]]])], FRAME.model_copy(update={"height": 1, "width": 2})
    )
    assert head.classes == 2
    assert expected["mask"].tolist() == [[[0, 1]]]
    np.testing.assert_allclose(expected["confidence"], [[[0.75, 0.75]]])


def test_where_no_map_is_likely_is_the_class_before_theirs() -> None:
    head = SegmentHead(2, (1, 3), "none", has_rest=True)
    expected = head.expected(
        [np.array([[[[0.25, 0.75, 0.3]], [[0.3, 0.1, 0.6]]]])],
        FRAME.model_copy(update={"height": 1, "width": 3}),
    )
    assert head.classes == 3
    assert expected["mask"].tolist() == [[[0, 1, 2]]]
    np.testing.assert_allclose(expected["confidence"], [[[0.7, 0.75, 0.6]]])


def test_a_pixel_of_another_class_differs_by_the_probability_it_lacks() -> None:
    head = SegmentHead(2, (1, 1))
    probabilities = np.array([[[[0.7]], [[0.3]]]])
    expected = {
        "mask": np.array([[[0]]], np.uint8),
        "confidence": np.array([[[0.7]]]),
        CLASS_PROBABILITIES: probabilities,
    }
    found = {"mask": np.array([[[1]]], np.uint8), "confidence": np.array([[[77]]], np.uint8)}
    assert head.difference(found, expected) == pytest.approx(0.4)
