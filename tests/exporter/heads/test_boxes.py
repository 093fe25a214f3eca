"""The forms of boxes, and where raw outputs hold them."""

import numpy as np
import pytest

from exporter.heads.boxes import DECODERS, xyxy
from exporter.heads.detect import DetectHead
from exporter.recipe_tables import DetectRecipe
from tests.exporter.heads.grafting import FRAME, grafted

BOX = {
    "xyxy": [1, 2, 5, 8],
    "yxyx": [2, 1, 8, 5],
    "xywh": [1, 2, 4, 6],
    "yxhw": [2, 1, 6, 4],
    "cxcywh": [3, 5, 4, 6],
    "cycxhw": [5, 3, 6, 4],
}


@pytest.mark.parametrize("form", BOX)
def test_every_form_of_a_box_becomes_its_corners(form: str) -> None:
    recipe = DetectRecipe.model_validate({"box_format": form, "box_unit": "pixel"})
    boxes = np.array([[BOX[form]]], np.float32)
    right = np.array([[[1, 2, 5, 8]]]) / [FRAME.width, FRAME.height, FRAME.width, FRAME.height]
    np.testing.assert_allclose(xyxy(boxes, recipe, FRAME), right)
    head = DetectHead(DECODERS["pair"], recipe, 1, 1)
    found = grafted(head, [boxes, np.ones((1, 1, 1))])
    np.testing.assert_allclose(found["boxes"], right, rtol=1e-6)


def test_boxes_in_pixels_become_shares_of_the_frame() -> None:
    boxes = np.array([[[3.0, 2.0, 6.0, 4.0]]])
    found = xyxy(boxes, DetectRecipe(box_unit="pixel"), FRAME)
    np.testing.assert_allclose(found, [[[0.25, 0.25, 0.5, 0.5]]])


def test_a_pair_drops_axes_of_size_one_inside_the_boxes() -> None:
    found = DECODERS["pair"].split([np.zeros((2, 5, 1, 4)), np.zeros((2, 5, 3))])
    assert (found.boxes.shape, found.scores.shape) == ((2, 5, 4), (2, 5, 3))


def test_the_yolo_decoders_find_box_objectness_scores_and_class() -> None:
    row = np.arange(7.0)[None, None]  # (1, 1, 7)
    v5 = DECODERS["yolov5"].split([row])
    assert v5.objectness is not None
    assert (v5.boxes.tolist(), v5.objectness.tolist(), v5.scores.tolist()) == (
        [[[0, 1, 2, 3]]],
        [[[4]]],
        [[[5, 6]]],
    )
    v8 = DECODERS["yolov8"].split([row.transpose(0, 2, 1)])
    assert (v8.boxes.tolist(), v8.scores.tolist()) == ([[[0, 1, 2, 3]]], [[[4, 5, 6]]])
    end = DECODERS["end2end"].split([row[..., :6]])
    assert end.classes is not None
    assert (end.scores.tolist(), end.classes.tolist()) == ([[4]], [[5]])
