"""The colors of heat, held to what makes a map perceptually even."""

import numpy as np
import pytest
from skimage import color

from service.imaging.colormap import colored, heat_colors, levels


def test_lightness_never_falls() -> None:
    lightness = color.rgb2lab(heat_colors()[None] / 255)[0, :, 0]
    assert lightness[0] < 5
    assert lightness[-1] > 90
    assert np.diff(lightness).min() > -0.3  # one step of one color channel
    assert np.diff(lightness[::16]).min() > 2


def test_levels_keep_their_bounds() -> None:
    values = np.array([[-1.0, 0.0], [5.0, 20.0]], np.float32)
    assert levels(values, 0, 10).tolist() == [[0, 0], [128, 255]]
    assert levels(values, 3, 3).max() == 0


def test_a_map_is_a_small_palette_image() -> None:
    image = colored(np.array([[0, 255]], np.uint8))
    assert image.mode == "P"
    assert image.convert("RGB").getpixel((1, 0)) == pytest.approx(tuple(heat_colors()[255]))
