"""Whether two lists of detections are the same: what only one side has must lower the agreement."""

import numpy as np
import pytest

from exporter.heads.boxes import DECODERS
from exporter.heads.detect import DetectHead
from exporter.network import Outputs
from exporter.recipe_tables import DetectRecipe

HEAD = DetectHead(DECODERS["pair"], DetectRecipe(), 4, 3)
SQUARES = [[0.0, 0.0, 0.2, 0.2], [0.4, 0.4, 0.6, 0.6], [0.7, 0.0, 0.9, 0.2], [0.0, 0.7, 0.2, 0.9]]


def detections(scores: list[float], classes: list[int]) -> Outputs:
    """Return the candidates of one image, a square each, the best first."""
    boxes = np.array(SQUARES[: len(scores)])
    return {"boxes": boxes[None], "scores": np.array([scores]), "classes": np.array([classes])}


TRUE = detections([0.9, 0.8, 0.0, 0.0], [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("scores", "classes"),
    [
        ([0.9, 0.8, 0.7, 0.0], [0, 0, 0, 0]),  # one more box of a class that is there
        ([0.9, 0.8, 0.7, 0.0], [0, 0, 1, 0]),  # a box of a class that nothing has
        ([0.9, 0.0, 0.0, 0.0], [0, 0, 0, 0]),  # one box less
        ([0.9, 0.8, 0.0, 0.0], [0, 1, 0, 0]),  # another class
        ([0.9, 0.5, 0.0, 0.0], [0, 0, 0, 0]),  # another score
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("nms_free", [False, True])
def test_what_only_one_side_has_lowers_the_agreement(
    scores: list[float], classes: list[int], *, nms_free: bool
) -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(nms_free=nms_free), 4, 3)
    other = detections(scores, classes)

    assert head.agreement(TRUE, TRUE, 0.1) == [1]
    assert head.agreement(other, TRUE, 0.1)[0] <= 0.75
    assert head.agreement(TRUE, other, 0.1)[0] <= 0.75


def test_a_detection_at_the_threshold_may_be_on_either_side_of_it() -> None:
    below, above = (detections([0.9, 0.8, edge, 0.0], [0, 0, 1, 0]) for edge in (0.0499, 0.0501))

    assert HEAD.agreement(above, below, 0.01) == [1]
    assert HEAD.agreement(below, above, 0.01) == [1]


def test_the_last_of_a_hundred_detections_may_have_its_counterpart_behind_them() -> None:
    places = np.linspace(0, 0.99, 101)
    boxes = np.stack([places, places, places + 0.005, places + 0.005], axis=1)[None]
    scores = np.linspace(0.9, 0.5, 101)[None]
    classes = np.array([[*[0] * 99, 1, 2]])
    swapped = [*range(99), 100, 99]
    one = {"boxes": boxes, "scores": scores, "classes": classes}
    other = {"boxes": boxes[:, swapped], "scores": scores, "classes": classes[:, swapped]}

    assert DetectHead(DECODERS["pair"], DetectRecipe(), 101, 3).agreement(one, other, 0.01) == [1]


@pytest.mark.parametrize(
    ("scores", "difference"),
    [([0.04, 0.03], 0.0), ([0.0, 0.0], 0.04), ([0.04, 0.0], 0.03), ([0.06, 0.03], 0.02)],
)
def test_scores_below_the_threshold_are_compared_where_nothing_is_above_it(
    scores: list[float], difference: float
) -> None:
    low = detections([0.04, 0.03], [0, 1])

    found = HEAD.result_difference(detections(scores, [0, 1]), low)

    assert found == pytest.approx(difference)


def test_of_equal_boxes_the_one_with_the_same_score_is_the_counterpart() -> None:
    head = DetectHead(DECODERS["pair"], DetectRecipe(nms_free=True), 4, 3)
    boxes = np.array([[SQUARES[0], SQUARES[0], SQUARES[1]]])
    twice = {
        "boxes": boxes,
        "scores": np.array([[0.9, 0.5, 0.4]]),
        "classes": np.array([[0, 0, 1]]),
    }
    other = {**twice, "scores": np.array([[0.9, 0.3, 0.4]])}

    assert head.result_difference(twice, twice) == 0
    assert head.result_difference(other, twice) == pytest.approx(0.2)
