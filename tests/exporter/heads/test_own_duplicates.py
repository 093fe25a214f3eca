"""A detector that is taken to give each object one box gets suppression where real images show several."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter.heads.detect import DetectHead
from exporter.heads.own_duplicates import judge_suppression
from exporter.network import Array
from tests.exporter.heads.judged import FRAME, detect_head

ROWS = 12
SIDE = FRAME.height


def image(place: float, boxes: int, *, kinds: int = 1, score: float = 0.9) -> Array:
    """Return rows (1, 12, 6) of an object at a place, with so many boxes of so many classes; all others are empty."""
    rows = np.zeros((1, ROWS, 6), np.float32)
    for index in range(boxes):
        shift = 0.01 * index
        corners = np.array([place + shift, 0.2, place + 0.4 + shift, 0.7]) * SIDE
        rows[0, index] = [*corners, score - 0.05 * index, index % kinds]
    return rows


def judged(*images: Array, **detect: Any) -> DetectHead:
    head = detect_head("end2end", (1, ROWS, 6), score_activation="none", **detect)
    assert head.recipe.nms_free
    return judge_suppression(head, [(one,) for one in images], FRAME)


def test_several_boxes_of_an_object_are_suppressed() -> None:
    assert not judged(image(0.1, 4), image(0.5, 4)).recipe.nms_free
    assert not judged(image(0.1, 4)).recipe.nms_free


@pytest.mark.parametrize(
    "images",
    [
        [image(0.1, 1), image(0.5, 1), image(0.3, 1), image(0.0, 1)],
        [image(0.1, 2), image(0.5, 2)],
        [image(0.1, 4, kinds=4), image(0.5, 4, kinds=4)],
        [image(0.1, 4, score=0.29), image(0.5, 4, score=0.29)],
        [*[image(0.1 * (index % 5), 1) for index in range(16)], image(0.5, 4)],
        [image(0.1, 9), image(0.1, 9)],
        [image(0.1, 0), image(0.5, 0)],
    ],
    ids=[
        "one box each",
        "only two repeat another",
        "another class",
        "unclear",
        "one image of many",
        "the same in every image, as without training",
        "nothing is found",
    ],
)
def test_others_give_each_object_one_box(images: list[Array]) -> None:
    assert judged(*images).recipe.nms_free


def test_what_is_stated_or_known_is_not_judged() -> None:
    images = image(0.1, 4), image(0.5, 4)
    assert judged(*images, nms_free=True).recipe.nms_free
    head = replace(detect_head("end2end", (1, ROWS, 6), score_activation="none"), is_known=True)
    assert judge_suppression(head, [(one,) for one in images], FRAME).recipe.nms_free
