"""The best candidates of a detector."""

from typing import Any

import numpy as np
import pytest

from exporter.heads.boxes import DECODERS
from exporter.heads.detect import DetectHead
from exporter.network import Array
from exporter.recipe import DetectRecipe
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import FRAME, grafted

ANCHORS = 20


def raw_of(decoder: str) -> list[Array]:
    """Return raw outputs of two images, with boxes in 0–1 and three columns of scores."""
    boxes = np.abs(np.sin(normal(2, ANCHORS, 4)))
    scores = np.abs(np.sin(np.linspace(1, 300, 2 * ANCHORS * 3))).reshape(2, ANCHORS, 3)
    objectness = np.abs(np.cos(normal(2, ANCHORS, 1)))
    if decoder == "pair":
        return [boxes, scores]
    if decoder == "yolov5":
        return [np.concatenate([boxes, objectness, scores], axis=2)]
    if decoder == "yolov8":
        return [np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)]
    classes = np.arange(2 * ANCHORS).reshape(2, ANCHORS, 1) % 3
    return [np.concatenate([boxes, scores[..., :1], classes], axis=2)]


@pytest.mark.parametrize(
    ("decoder", "recipe"),
    [
        ("pair", {}),
        ("pair", {"class_offset": 1, "box_format": "yxyx", "candidates": 5}),
        ("pair", {"background": "first", "score_activation": "softmax"}),
        ("pair", {"background": "last"}),
        ("yolov5", {"box_format": "cxcywh", "one_class_a_box": True}),
        ("yolov8", {"box_format": "xywh", "one_class_a_box": True}),
        ("end2end", {}),
    ],
)
def test_the_nodes_compute_what_is_expected(decoder: str, recipe: dict[str, Any]) -> None:
    head = DetectHead(
        DECODERS[decoder],
        DetectRecipe.model_validate(recipe),
        ANCHORS,
        0 if decoder == "end2end" else 3,
    )
    raw = raw_of(decoder)

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert found["boxes"].shape == (2, head.candidates, 4)
    assert found["classes"].dtype == np.int32
    assert head.difference(found, expected) < 1e-6


def test_the_background_needs_a_label_and_is_no_candidate() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(background="first"), ANCHORS, 3)
    assert head.classes == 3
    assert set(np.unique(grafted(head, raw_of("pair"))["classes"])) <= {1, 2}


def test_a_moved_box_is_a_difference_and_lowers_the_agreement() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 1, 1)
    expected = {
        "boxes": np.array([[[0.0, 0.0, 0.5, 0.5]]]),
        "scores": np.array([[0.9]]),
        "classes": np.array([[0]]),
    }
    found = {**expected, "boxes": expected["boxes"] + 0.4}
    assert head.difference(found, expected) == pytest.approx(0.4)
    assert head.agreement(found, expected, 1.0) == [0]


def test_two_images_without_detections_agree() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(), 1, 1)
    nothing = {
        "boxes": np.zeros((1, 1, 4)),
        "scores": np.zeros((1, 1)),
        "classes": np.zeros((1, 1)),
    }
    assert head.agreement(nothing, nothing, 1.0) == [1]
