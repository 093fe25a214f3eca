"""Perturbations spoil what they say, and leave alone what they do not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.imaging.perturb import LADDERS, Perturbation, shuffle, silhouette

FRAME: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 255, (60, 90, 3), np.uint8)


@pytest.mark.parametrize("name", LADDERS)
def test_every_step_keeps_the_frames_shape(name: Perturbation) -> None:
    for amount in LADDERS[name].amounts:
        made = LADDERS[name].apply(FRAME, amount, 0)
        assert made.shape == FRAME.shape
        assert made.dtype == np.uint8


@pytest.mark.parametrize(
    "name", [name for name, one in LADDERS.items() if one.unchanged is not None]
)
def test_one_step_changes_nothing(name: Perturbation) -> None:
    unchanged = LADDERS[name].unchanged
    assert unchanged in LADDERS[name].amounts
    assert unchanged is not None
    assert np.array_equal(LADDERS[name].apply(FRAME, unchanged, 0), FRAME)


@pytest.mark.parametrize("side", [2, 3, 7])
def test_shuffling_moves_patches_and_loses_no_pixel(side: int) -> None:
    mixed = shuffle(FRAME, side, 4)
    assert not np.array_equal(mixed, FRAME)
    assert np.array_equal(np.sort(mixed, axis=None), np.sort(FRAME, axis=None))
    assert np.array_equal(mixed, shuffle(FRAME, side, 4))
    assert not np.array_equal(mixed, shuffle(FRAME, side, 5))


def test_patches_stay_whole_and_none_stays_in_its_place() -> None:
    mixed = shuffle(FRAME, 3, 0)
    for index in range(9):
        row, column = divmod(index, 3)
        patch = mixed[row * 20 : row * 20 + 20, column * 30 : column * 30 + 30]
        (place,) = (
            other
            for other in range(9)
            if np.array_equal(
                FRAME[other // 3 * 20 : other // 3 * 20 + 20, other % 3 * 30 : other % 3 * 30 + 30],
                patch,
            )
        )
        assert place != index


def test_an_outline_is_black_on_white() -> None:
    region = np.zeros((4, 6), np.bool_)
    region[1:3, 2:4] = True
    drawn = np.asarray(silhouette(region))
    assert drawn[region].max() == 0
    assert drawn[~region].min() == 255
