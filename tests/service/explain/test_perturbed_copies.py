import numpy as np
import pytest

from service.explain.frame import mean_color
from service.explain.perturbed_copies import CELLS, RandomMasks, SlidingPatch, sliding_patch
from tests.service.explain.spots import FRAME, SPOT, brightness, hottest


def test_random_masks_find_the_spot() -> None:
    masks = RandomMasks(seed=1, count=300)
    heat = masks.heat([brightness(make()) for make in masks.copies(FRAME)])
    assert hottest(heat) == pytest.approx(SPOT, abs=0.12)


def test_a_sliding_patch_finds_the_spot() -> None:
    patch = sliding_patch(150)
    assert patch.count == 144
    heat = patch.heat([brightness(make()) for make in patch.copies(FRAME)], brightness(FRAME))
    assert hottest(heat) == pytest.approx(SPOT, abs=0.1)


@pytest.mark.parametrize("share", [0.12, 0.3, 0.6])
def test_the_first_places_of_a_sliding_patch_find_the_spot(share: float) -> None:
    patch = sliding_patch(144)
    first = patch.copies(FRAME)[: round(share * patch.count)]
    heat = patch.heat([brightness(make()) for make in first], brightness(FRAME))
    assert heat.values.shape == (12, 12)
    assert hottest(heat) == pytest.approx(SPOT, abs=0.2)


def test_the_first_places_are_spread_over_the_grid() -> None:
    for side in (6, 12, 63):
        places = SlidingPatch(side).places()
        assert sorted(places) == [(row, column) for row in range(side) for column in range(side)]
        quarters = {(2 * row // side, 2 * column // side) for row, column in places[:16]}
        assert len(quarters) == 4


def test_masks_depend_on_seed_and_number_only() -> None:
    one, same, other = RandomMasks(5, 4), RandomMasks(5, 9), RandomMasks(6, 4)
    assert np.array_equal(one.mask(2, 30, 40), same.mask(2, 30, 40))
    assert not np.array_equal(one.mask(2, 30, 40), one.mask(3, 30, 40))
    assert not np.array_equal(one.mask(2, 30, 40), other.mask(2, 30, 40))


def test_masks_show_half_of_every_place_and_are_smooth() -> None:
    masks = np.stack([RandomMasks(0, 600).mask(number, 40, 40) for number in range(600)])
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean(axis=0) == pytest.approx(np.full((40, 40), 0.5), abs=0.08)
    assert np.abs(np.diff(masks, axis=1)).max() <= (CELLS - 1) / 40 + 1e-6


def test_a_mask_is_the_same_at_every_size() -> None:
    large, small = (RandomMasks(0, 1).mask(0, side, side) for side in (80, 20))
    np.testing.assert_allclose(large[::4, ::4], small, atol=1e-6)


def test_a_patch_covers_its_place_with_the_mean_color_and_nothing_else() -> None:
    first = sliding_patch(64).copies(FRAME)[0]()
    assert np.array_equal(first[:8, :6], mean_color(FRAME)[:8, :6])
    assert np.array_equal(first[16:], FRAME[16:])
