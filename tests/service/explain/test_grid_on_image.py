import numpy as np

from service.card import ImageInput
from service.explain.grid_on_image import cell_centers, cells_on_image
from service.imaging.geometry import plan

STRETCH = ImageInput(height=100, width=100, resize="stretch")
LETTERBOX = ImageInput(height=100, width=100, resize="letterbox")


def test_centers_are_in_pixels_of_the_image() -> None:
    x, y = cell_centers((2, 4), plan(400, 100, STRETCH))
    assert x.tolist() == [50, 150, 250, 350]
    assert y.tolist() == [25, 75]


def test_a_stretched_frame_lies_on_the_image_everywhere() -> None:
    assert cells_on_image((3, 5), plan(30, 77, STRETCH)).all()


def test_the_padding_of_a_letterbox_is_not_on_the_image() -> None:
    on_image = cells_on_image((10, 10), plan(400, 200, LETTERBOX))
    rows = np.flatnonzero(on_image.all(axis=1)).tolist()
    assert rows == [2, 3, 4, 5, 6]
    assert not on_image[0].any()
    assert not on_image[-1].any()
