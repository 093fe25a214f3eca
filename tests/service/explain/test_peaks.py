"""Peaks: high, apart, and their crops where they should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.card import ImageInput
from service.explain.peaks import field_figures, find_peaks
from service.graph.receptive_field import ReceptiveField
from service.imaging.geometry import plan

FIELD = ReceptiveField((40.0, 40.0), (20.0, 20.0))
FRAME = (160, 160)
STRETCH = ImageInput(height=160, width=160, resize="stretch")
LETTERBOX = ImageInput(height=160, width=160, resize="letterbox")


def test_two_spots_are_two_peaks_the_higher_first() -> None:
    values = np.zeros((16, 16), np.float32)
    values[3, 4], values[3, 5], values[12, 9] = 5, 4, 8
    first, second = find_peaks(values, FIELD, plan(320, 160, STRETCH), FRAME, 9)
    assert ((first.row, first.column), (second.row, second.column)) == ((12, 9), (3, 4))
    assert first.box == pytest.approx((170, 115, 210, 135))
    assert second.value == 5


def test_of_equal_ones_the_one_in_company_goes_first() -> None:
    values = np.zeros((16, 16), np.float32)
    values[1, 1] = 6
    values[8:11, 8:11] = 6
    assert find_peaks(values, FIELD, plan(160, 160, STRETCH), FRAME, 1)[0].row == 9


def test_a_flat_map_repeats_nothing() -> None:
    assert len(find_peaks(np.zeros((4, 4), np.float32), FIELD, plan(9, 9, STRETCH), FRAME, 9)) <= 9


@given(st.integers(20, 400), st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_crops_lie_on_the_image(width: int, height: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((16, 16)).astype(np.float32)
    geometry = plan(width, height, LETTERBOX)
    for peak in find_peaks(values, FIELD, geometry, FRAME, 9):
        left, top, right, bottom = peak.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_a_peak_on_the_padding_is_none() -> None:
    values = np.zeros((16, 16), np.float32)
    values[0, 3], values[8, 9] = 9, 4
    peaks = find_peaks(values, FIELD, plan(320, 160, LETTERBOX), FRAME, 9)
    assert [(peak.row, peak.column) for peak in peaks] == [(8, 9)]


def test_a_field_without_a_size_lets_the_whole_image_in() -> None:
    assert field_figures(ReceptiveField(None, (9.0, 12.345678))) == {
        "height": None,
        "width": None,
        "effective": 12.35,
    }
