import numpy as np
import pytest

from service.imaging.palette import Color, class_color, ink_on, palette


def test_the_palette_holds_the_color_of_every_class() -> None:
    colors = palette()
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    assert [tuple(color) for color in colors.tolist()] == [class_color(id_) for id_ in range(256)]


def test_no_two_of_the_first_hundred_classes_share_a_color() -> None:
    assert len({class_color(class_id) for class_id in range(1, 101)}) == 100


def test_classes_that_follow_one_another_are_far_apart() -> None:
    colors = palette()[1:].astype(np.int64)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() > 100


def test_a_class_beyond_a_mask_has_a_color_too() -> None:
    assert all(0 <= channel <= 255 for channel in class_color(100_000))


@pytest.mark.parametrize(
    ("color", "ink"),
    [
        ((255, 255, 255), (0, 0, 0)),
        ((0, 0, 0), (255, 255, 255)),
        ((0, 255, 0), (0, 0, 0)),
        ((0, 0, 255), (255, 255, 255)),
        ((255, 0, 0), (0, 0, 0)),
        ((190, 0, 0), (255, 255, 255)),
    ],
)
def test_ink_is_the_one_of_black_and_white_that_reads_better(color: Color, ink: Color) -> None:
    assert ink_on(color) == ink


def test_ink_has_the_contrast_that_wcag_asks_of_text_on_every_class() -> None:
    for class_id in range(256):
        color = class_color(class_id)
        assert contrast(color, ink_on(color)) >= 4.5


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of WCAG 2.1, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: Color) -> float:
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
