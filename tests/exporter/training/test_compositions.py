import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.training import compositions
from exporter.training.compositions import (
    BACKGROUND_ID,
    LABELS,
    MOST_DIGITS,
    Material,
    compose,
)

LUMA = np.array([0.299, 0.587, 0.114])


def as_rows(digits: NDArray[np.uint8]) -> set[bytes]:
    return {digit.tobytes() for digit in digits}


def test_no_digit_and_no_photograph_is_both_learned_from_and_held_out(
    material: tuple[Material, Material],
) -> None:
    learned, held_out = material
    assert len(learned.digits) == 4000
    assert len(held_out.digits) == 1000
    assert as_rows(learned.digits).isdisjoint(as_rows(held_out.digits))
    assert {photo.tobytes() for photo in learned.photographs}.isdisjoint(
        photo.tobytes() for photo in held_out.photographs
    )
    assert not set(compositions.LEARNED_PHOTOGRAPHS) & set(compositions.HELD_OUT_PHOTOGRAPHS)


def test_both_parts_hold_every_digit(material: tuple[Material, Material]) -> None:
    for part in material:
        assert set(part.values.tolist()) == set(range(10))


def test_the_same_seed_composes_the_same_image(material: tuple[Material, Material]) -> None:
    one, other = (compose(material[0], np.random.default_rng(3), (96, 128)) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize("size", [(128, 128), (128, 171), (240, 320)])
def test_an_image_and_its_mask_have_the_size_that_was_requested(
    material: tuple[Material, Material], size: tuple[int, int]
) -> None:
    composed = compose(material[0], np.random.default_rng(1), size)
    assert composed.image.shape == (*size, 3)
    assert composed.mask.shape == size
    assert composed.image.dtype == composed.mask.dtype == np.uint8


def test_a_mask_holds_the_classes_of_one_to_four_digits(
    material: tuple[Material, Material],
) -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        found = set(np.unique(compose(material[1], rng, (128, 128)).mask)) - {BACKGROUND_ID}
        assert 1 <= len(found) <= MOST_DIGITS
        assert max(found) < len(LABELS)


@pytest.mark.parametrize("value", range(10))
def test_a_mask_names_the_digit_that_is_written(
    material: tuple[Material, Material], value: int
) -> None:
    held_out = material[1]
    chosen = held_out.values == value
    only = Material(held_out.digits[chosen], held_out.values[chosen], held_out.photographs)
    mask = compose(only, np.random.default_rng(value), (128, 128)).mask
    assert LABELS[mask.max()] == str(value)
    assert set(np.unique(mask).tolist()) == {BACKGROUND_ID, value + 1}


def test_a_stroke_stands_out_from_what_is_around_it(material: tuple[Material, Material]) -> None:
    rng = np.random.default_rng(4)
    gaps = []
    for _ in range(40):
        composed = compose(material[1], rng, (128, 128))
        luma = composed.image @ LUMA
        for class_id in set(np.unique(composed.mask).tolist()) - {BACKGROUND_ID}:
            rows, columns = np.nonzero(composed.mask == class_id)
            box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            ink = luma[box][composed.mask[box] == class_id]
            paper = luma[box][composed.mask[box] == BACKGROUND_ID]
            gaps.append(abs(np.median(ink) - np.median(paper)))
    assert np.median(gaps) > 60
    assert np.percentile(gaps, 5) > 25


def test_a_mask_covers_the_stroke_and_a_margin_but_not_the_paper() -> None:
    """On an even photograph whatever was painted is known: all of it clear of noise lies under the mask."""
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 4:24, 12:16] = 255
    flat = Material(bar, np.array([1]), (Image.new("RGB", (200, 200), (40, 40, 40)),))
    composed = compose(flat, np.random.default_rng(5), (128, 128))
    luma = composed.image @ LUMA
    paper = np.median(luma[composed.mask == BACKGROUND_ID])
    painted = np.abs(luma - paper) > 40
    marked = composed.mask == 2
    assert painted.any()
    assert marked[painted].mean() > 0.99
    assert painted.sum() > 0.5 * marked.sum()
