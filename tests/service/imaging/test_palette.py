import itertools

import numpy as np
import pytest

from service.imaging.palette import class_color, class_colors, ink_on


def test_every_id_has_a_color_of_its_own_class_0_too() -> None:
    assert len({class_color(class_id) for class_id in range(256)}) == 256


def test_no_class_is_black_white_or_gray() -> None:
    spread = np.ptp(class_colors().astype(int), axis=1)
    assert spread.min() > 50


def test_neighboring_ids_have_very_different_colors() -> None:
    colors = class_colors().astype(int)
    assert all(np.abs(one - other).sum() > 100 for one, other in itertools.pairwise(colors))


def test_the_colors_of_a_mask_are_those_of_its_classes() -> None:
    assert class_colors().shape == (256, 3)
    assert tuple(class_colors()[7].tolist()) == class_color(7)


@pytest.mark.parametrize(
    ("color", "ink"), [((255, 255, 0), (0, 0, 0)), ((0, 0, 160), (255, 255, 255))]
)
def test_ink_contrasts_with_its_ground(
    color: tuple[int, int, int], ink: tuple[int, int, int]
) -> None:
    assert ink_on(color) == ink
