"""Masks and confidences of class maps."""

from typing import Literal

import numpy as np
import pytest

from exporter.heads.segment import CLASS_PROBABILITIES, SegmentHead
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import FRAME, grafted


@pytest.mark.parametrize(
    ("channels", "size", "activation"),
    [(4, (8, 12), "softmax"), (4, (2, 3), "softmax"), (1, (8, 12), "sigmoid"), (3, (4, 6), "none")],
)
def test_the_nodes_compute_what_is_expected(
    channels: int, size: tuple[int, int], activation: Literal["softmax", "sigmoid", "none"]
) -> None:
    head = SegmentHead(channels, size, activation)
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
