import numpy as np

from service.explain.filter_images import filter_images


def test_the_largest_weight_is_white_and_zero_is_mid_gray() -> None:
    weights = np.zeros((1, 3, 1, 2), np.float32)
    weights[0, :, 0, 1] = (0.5, -0.5, 0.25)
    (image,) = filter_images(weights)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (128, 128, 128)
    assert image.getpixel((1, 0)) == (255, 0, 191)


def test_filters_of_other_than_three_channels_are_gray() -> None:
    images = filter_images(np.ones((2, 5, 3, 3), np.float32))
    assert [(image.mode, image.size) for image in images] == [("L", (3, 3))] * 2


def test_a_filter_of_zeros_is_gray() -> None:
    (image,) = filter_images(np.zeros((1, 3, 2, 2), np.float32))
    assert image.getpixel((0, 0)) == (128, 128, 128)
