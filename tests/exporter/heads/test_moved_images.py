"""What is done with an image is done with its boxes, too."""

import numpy as np
import pytest

from exporter.heads.moved_images import changed_images

WHITE = 255


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (300, 300)])
def test_boxes_are_where_the_changed_image_has_them(size: tuple[int, int]) -> None:
    height, width = size
    top, left = height // 2, width // 3
    bottom, right = top + 8, left + 12
    frame = np.zeros((*size, 3), np.uint8)
    frame[top:bottom, left:right] = WHITE
    box = np.array([[left / width, top / height, right / width, bottom / height]])
    changes = list(changed_images(frame))
    assert len(changes) == len({change for _, change in changes}) == 17
    for changed, change in changes:
        assert changed.shape == frame.shape
        assert changed.dtype == np.uint8
        rows, columns = np.nonzero(changed[..., 0] > 180)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        moved = np.clip(change.boxes(box)[0], 0, 1) * np.array([width, height] * 2)
        np.testing.assert_allclose(moved, seen, atol=1)


def test_a_box_without_an_area_keeps_having_none() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    for _, change in changed_images(frame):
        left, top, right, bottom = change.boxes(np.array([[0.6, 0.2, 0.4, 0.5]]))[0]
        assert right < left
        assert bottom > top
