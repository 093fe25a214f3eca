import numpy as np
import pytest
import torch
from torchvision import ops

from service.heads.boxes import BOX_FORMATS, corners, iou


def test_the_overlap_is_what_torchvision_finds() -> None:
    random = np.random.default_rng(1)
    corner = random.random((50, 2))
    boxes = np.concatenate([corner, corner + random.random((50, 2))], axis=1).astype(np.float32)
    expected = ops.box_iou(torch.from_numpy(boxes[:20]), torch.from_numpy(boxes)).numpy()
    found = iou(boxes[:20], boxes)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_two_empty_boxes_do_not_overlap() -> None:
    empty = np.zeros((1, 4), np.float32)
    assert iou(empty, empty).tolist() == [[0.0]]


def test_no_boxes_give_an_empty_matrix() -> None:
    none, one = np.zeros((0, 4), np.float32), np.array([[0, 0, 1, 1]], np.float32)
    assert iou(none, one).shape == (0, 1)
    assert iou(one, none).shape == (1, 0)


def test_one_box_in_three_formats() -> None:
    box = (1.0, 2.0, 4.0, 8.0)
    assert {name: form(box, 2) for name, form in BOX_FORMATS.items()} == {
        "xyxy": {"x_min": 1, "y_min": 2, "x_max": 4, "y_max": 8},
        "xywh": {"x": 1, "y": 2, "width": 3, "height": 6},
        "cxcywh": {"x_center": 2.5, "y_center": 5, "width": 3, "height": 6},
    }


@pytest.mark.parametrize("name", sorted(BOX_FORMATS))
def test_every_format_is_rounded_to_the_digits_given(name: str) -> None:
    box = (1 / 3, 1 / 7, 2 / 3, 6 / 7)
    for digits in (2, 6):
        values = BOX_FORMATS[name](box, digits).values()  # type: ignore[index]
        assert all(round(value, digits) == value for value in values)  # type: ignore[call-overload]
        assert any(round(value, digits - 1) != value for value in values)  # type: ignore[call-overload]


def test_numpy_numbers_become_plain_ones() -> None:
    box = tuple(np.array([1, 2, 3, 4], np.float32))
    assert {type(edge) for edge in corners(box).values()} == {float}
