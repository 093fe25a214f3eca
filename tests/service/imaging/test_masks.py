import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from service.card import ImageInput
from service.imaging.geometry import plan
from service.imaging.masks import bounding_box, enlarge, mask_on_image, polygons, rle

STRETCH = ImageInput(height=32, width=32, resize="stretch")
CROP = ImageInput(height=32, width=32, resize="crop", shorter_side=32)
LETTERBOX = ImageInput(height=32, width=32, resize="letterbox")


def disc(size: int = 32) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:size, :size] + 0.5
    inside = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 3) ** 2
    return np.asarray(inside, np.uint8)


def test_a_mask_at_its_own_size_comes_back_as_it_was() -> None:
    confidence = np.full((32, 32), 200, np.uint8)
    found = mask_on_image(disc(), confidence, plan(32, 32, STRETCH), classes=2)
    assert np.array_equal(found.ids, disc())
    assert (found.confidence == 200).all()


@pytest.mark.parametrize("target", [STRETCH, LETTERBOX], ids=lambda t: t.resize)
def test_an_enlarged_disc_is_a_smooth_disc(target: ImageInput) -> None:
    found = mask_on_image(
        disc(), np.full((32, 32), 255, np.uint8), plan(640, 640, target), classes=2
    )
    rows, columns = np.mgrid[:640, :640] + 0.5
    ideal = (rows - 320) ** 2 + (columns - 320) ** 2 < (640 / 3) ** 2
    both, either = (found.ids & ideal).sum(), (found.ids | ideal).sum()
    assert both / either > 0.95


def test_any_class_of_many_wins_where_it_won() -> None:
    ids = np.repeat(np.arange(4, dtype=np.uint8), 8)[None].repeat(32, axis=0)
    found = mask_on_image(ids, np.full((32, 32), 150, np.uint8), plan(320, 64, STRETCH), classes=11)
    assert np.array_equal(found.ids[0, 40::80], [0, 1, 2, 3])


def test_what_a_crop_did_not_see_is_nothing() -> None:
    ones = np.ones((32, 32), np.uint8)
    found = mask_on_image(ones, ones * 255, plan(96, 32, CROP), classes=2)
    assert found.ids.shape == (32, 96)
    assert np.array_equal(np.flatnonzero(found.ids[0]), np.arange(32, 64))


def test_padding_of_a_letterbox_is_cut_away() -> None:
    frame = np.zeros((32, 32), np.uint8)
    frame[8:24] = 255  # an image twice as wide as high fills the middle half
    assert (enlarge(frame, plan(200, 100, LETTERBOX))[10:90] > 200).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([STRETCH, CROP, LETTERBOX]))
def test_every_mask_has_its_images_size(width: int, height: int, target: ImageInput) -> None:
    found = mask_on_image(disc(), np.full((32, 32), 9, np.uint8), plan(width, height, target), 2)
    assert found.ids.shape == found.confidence.shape == (height, width)


def test_run_lengths_decode_to_the_region() -> None:
    region = disc().astype(bool)
    told = rle(region)
    assert isinstance(told["counts"], str)
    assert np.array_equal(coco.decode(told).astype(bool), region)


def test_the_bounding_box_is_tight() -> None:
    region = np.zeros((10, 20), bool)
    region[2:5, 7:19] = True
    assert bounding_box(region) == (7, 2, 19, 5)


def test_polygons_outline_the_region_and_its_hole() -> None:
    region = np.zeros((60, 80), bool)
    region[10:50, 10:70] = True
    region[20:40, 30:50] = False
    outlines = polygons(region)
    assert len(outlines) == 2
    rim, hole = sorted((shoelace(outline) for outline in outlines), reverse=True)
    assert rim == pytest.approx(40 * 60, abs=1)
    assert hole == pytest.approx(20 * 20, abs=1)
    assert all(len(outline) == 16 for outline in outlines), (
        "straight sides have no points between corners"
    )


def test_polygons_reach_the_images_edge() -> None:
    (outline,) = polygons(np.ones((5, 8), bool))
    assert (max(outline[::2]), max(outline[1::2]), min(outline)) == (8, 5, 0)


def shoelace(outline: list[float]) -> float:
    """The area that a flat [x, y, …] outline encloses."""
    x, y = np.array(outline[::2]), np.array(outline[1::2])
    return float(abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2)
