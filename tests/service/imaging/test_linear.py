"""Bilinear interpolation without antialiasing, against values by hand and against its formula in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.imaging.geometry import Box
from service.imaging.linear import between_four_pixels
from service.imaging.resampling import resample


def noise(width: int, height: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def formula(pixels: NDArray[np.uint8], size: tuple[int, int], box: Box) -> NDArray[np.float64]:
    """Each value as a mean of all pixels, of which only those nearer than one pixel have a weight."""
    height, width = pixels.shape[:2]
    across, down = weights(box[0], box[2], size[0], width), weights(box[1], box[3], size[1], height)
    rows = np.tensordot(down, pixels.astype(np.float64), 1)
    values: NDArray[np.float64] = np.moveaxis(np.tensordot(across, rows, (1, 1)), 0, 1)
    return values


def weights(begin: float, end: float, count: int, length: int) -> NDArray[np.float64]:
    places = begin + (np.arange(count) + 0.5) * (end - begin) / count - 0.5
    inside = places.clip(0, length - 1)
    near: NDArray[np.float64] = np.maximum(0, 1 - np.abs(inside[:, None] - np.arange(length)))
    return near


def largest(pixels: NDArray[np.uint8], size: tuple[int, int], box: Box) -> float:
    made = between_four_pixels(Image.fromarray(pixels), size, box)
    assert made.size == size
    return float(np.abs(np.asarray(made) - formula(pixels, size, box)).max())


def test_a_row_of_pixels_by_hand() -> None:
    row = Image.fromarray(np.array([[0, 100, 30, 80, 200, 7, 9, 41]], np.uint8))
    half = between_four_pixels(row, (4, 1), (0, 0, 8, 1))
    assert np.asarray(half).tolist() == [[50, 55, 104, 25]]  # the means of two: 103.5 is rounded up
    third = between_four_pixels(row, (2, 1), (0, 0, 6, 1))
    assert np.asarray(third).tolist() == [[100, 200]]  # the middle one of three, and no other
    part = between_four_pixels(row, (2, 1), (1.25, 0, 7.25, 1))
    assert np.asarray(part).tolist() == [[43, 8]]  # at 2.25 and 5.25: 30 + 50 / 4, 7 + 2 / 4


@pytest.mark.parametrize("size", [(224, 224), (100, 50), (211, 7), (1, 1), (640, 3), (900, 20)])
@pytest.mark.parametrize("stored", [(300, 150), (640, 480), (1, 900), (900, 1), (3, 3)], ids=str)
def test_each_value_is_the_formula_s_rounded(
    stored: tuple[int, int], size: tuple[int, int]
) -> None:
    """Ratios such as 3 to 1 have places in the middle of pixels, where an inexact sum takes another pixel."""
    width, height = stored
    pixels = noise(width, height)
    for box in ((0, 0, width, height), (width / 3, height / 7, width * 0.9, height)):
        assert largest(pixels, size, box) <= 0.51
        assert largest(pixels[..., 0], size, box) <= 0.51


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_part_of_any_image_is_the_formula_s(data: st.DataObject) -> None:
    sides = st.integers(1, 300)
    width, height, size = data.draw(sides), data.draw(sides), (data.draw(sides), data.draw(sides))
    edges = st.floats(0, 1, allow_subnormal=False)
    left, right = sorted(data.draw(edges) * width for _ in range(2))
    top, bottom = sorted(data.draw(edges) * height for _ in range(2))
    pixels = noise(width, height, data.draw(st.integers(0, 9)))
    assert largest(pixels, size, (left, top, right, bottom)) <= 0.51


@pytest.mark.parametrize("stored", [(1_000_000, 2), (2, 1_000_000)], ids=str)
def test_the_longest_side_has_exact_places(stored: tuple[int, int]) -> None:
    width, height = stored
    ramp = np.arange(1_000_000) // 40 % 256
    row = ramp.astype(np.uint8)[None].repeat(2, axis=0)
    image = Image.fromarray(row if width > height else np.ascontiguousarray(row.T))
    size = (3000, 2) if width > height else (2, 3000)
    made = np.asarray(between_four_pixels(image, size, (0, 0, *stored)))
    places = (np.arange(3000) + 0.5) * (1_000_000 / 3000) - 0.5
    near = ramp[places.astype(int)]
    expected = near + (ramp[places.astype(int) + 1] - near) * (places % 1)
    assert np.abs((made[0] if width > height else made[:, 0]) - expected).max() <= 0.6


def test_an_even_color_stays_the_same() -> None:
    white = Image.new("RGB", (777, 333), "white")
    assert (np.asarray(between_four_pixels(white, (100, 91), (0.3, 0.2, 776, 332.9))) == 255).all()


@pytest.mark.parametrize("size", [(300, 300), (301, 500), (224, 100), (400, 90), (150, 210)])
def test_linear_is_bilinear_where_no_side_becomes_smaller(size: tuple[int, int]) -> None:
    """With and without SIMD within one of the formula; where a side does become smaller, no filter is widened."""
    pixels, box = noise(300, 200), (0.0, 0.0, 300.0, 200.0)
    made = np.asarray(resample(Image.fromarray(pixels), size, "linear", box))
    assert np.abs(made - formula(pixels, size, box)).max() <= 1.5
    widened = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    difference = np.abs(made.astype(int) - widened).max()
    smaller = size[0] < 300 or size[1] < 200
    assert difference > 20 if smaller else difference <= 2
