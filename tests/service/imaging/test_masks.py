import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from service.card import ImageInput
from service.imaging.geometry import plan
from service.imaging.masks import (
    bounding_box,
    class_probability,
    enlarge,
    mask_on_image,
    polygons,
    rle,
)

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


@pytest.mark.parametrize("classes", [2, 3, 4, 200])
def test_an_improbable_class_wins_where_it_won(classes: int) -> None:
    """The probabilities of classes that each have a sigmoid do not sum to one."""
    rng = np.random.default_rng(4)
    ids = rng.integers(0, classes, (32, 32), np.uint8)
    confidence = rng.integers(0, 256, (32, 32), np.uint8)

    found = mask_on_image(ids, confidence, plan(32, 32, STRETCH), classes)

    np.testing.assert_array_equal(found.ids, ids)
    assert np.abs(found.confidence.astype(int) - confidence).max() <= 1


@pytest.mark.parametrize("class_id", [0, 1])
def test_what_a_crop_did_not_see_is_not_seen_whatever_the_class(class_id: int) -> None:
    ids = np.full((32, 32), class_id, np.uint8)
    found = mask_on_image(ids, np.full_like(ids, 255), plan(96, 32, CROP), classes=2)
    assert found.ids.shape == (32, 96)
    for seen in (found.seen, found.confidence, found.region(class_id)):
        assert np.array_equal(np.flatnonzero(seen[0]), np.arange(32, 64))
    assert found.areas(2).tolist() == [32 * 32 if one == class_id else 0 for one in (0, 1)]


@pytest.mark.parametrize(
    ("background_id", "foreground"), [(0, 512), (1, 512), (3, 1024), (None, 1024)]
)
def test_the_foreground_is_every_seen_pixel_but_the_background(
    background_id: int | None, foreground: int
) -> None:
    ids = np.zeros((32, 32), np.uint8)
    ids[16:] = 1
    found = mask_on_image(ids, np.full_like(ids, 255), plan(96, 32, CROP), classes=4)
    assert found.foreground(background_id).sum() == foreground


def test_indices_mark_what_was_not_seen() -> None:
    ids = np.zeros((32, 32), np.uint8)
    found = mask_on_image(ids, np.full_like(ids, 255), plan(96, 32, CROP), classes=2)
    indices = found.indices(255)
    assert indices.dtype == np.uint8
    assert np.array_equal(np.flatnonzero(indices[0] == 0), np.arange(32, 64))
    assert np.unique(indices).tolist() == [0, 255]


@pytest.mark.parametrize("uncertain", [85, 255])
@pytest.mark.parametrize("padding", [0, 2])
def test_the_padding_of_a_letterbox_never_counts(uncertain: int, padding: int) -> None:
    ids = np.full((32, 32), padding, np.uint8)
    ids[8:24] = 1  # an image twice as wide as high fills the middle half
    confidence = np.full_like(ids, uncertain)
    found = mask_on_image(ids, confidence, plan(200, 100, LETTERBOX), classes=3)
    assert found.seen.all()
    assert (found.ids == 1).all()
    assert (found.confidence == uncertain).all()


def test_padding_of_a_letterbox_is_cut_away() -> None:
    frame = np.zeros((32, 32), np.uint8)
    frame[8:24] = 255
    assert (enlarge(frame, plan(200, 100, LETTERBOX)) == 255).all()


def test_a_mask_smaller_than_the_frame_is_laid_where_the_frame_lies() -> None:
    frame = np.zeros((16, 16), np.uint8)
    frame[4:12] = 255
    assert (enlarge(frame, plan(200, 100, LETTERBOX)) == 255).all()


@pytest.mark.parametrize(("size", "columns"), [((24, 8), (12, 16)), ((8, 24), (4, 8))])
def test_the_right_half_of_what_a_crop_saw_is_there_on_the_image(
    size: tuple[int, int], columns: tuple[int, int]
) -> None:
    frame = np.zeros((32, 32), np.uint8)
    frame[:, 16:] = 255
    left, right = columns
    top, bottom = plan(*size, CROP).seen[1::2]
    shown = enlarge(frame, plan(*size, CROP))
    expected = np.zeros(shown.shape, bool)
    expected[top:bottom, left:right] = True
    assert np.array_equal(shown > 127, expected)


@pytest.mark.parametrize(("classes", "rest"), [(6, 10), (3, 25), (2, 50), (1, 50)])
def test_a_class_that_did_not_win_has_an_even_share_of_the_rest(classes: int, rest: int) -> None:
    ids = np.array([[0, 1]], np.uint8)
    shares = class_probability(ids, np.full((1, 2), 205, np.uint8), 1, classes)
    assert shares.tolist() == [[rest, 205]]
    assert shares.dtype == np.uint8


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([STRETCH, CROP, LETTERBOX]))
def test_every_mask_has_its_images_size(width: int, height: int, target: ImageInput) -> None:
    found = mask_on_image(disc(), np.full((32, 32), 9, np.uint8), plan(width, height, target), 2)
    assert found.ids.shape == found.confidence.shape == found.seen.shape == (height, width)
    assert found.seen.any()
    assert not found.confidence[~found.seen].any()


def test_run_lengths_decode_to_the_region() -> None:
    region = disc().astype(bool)
    encoded = rle(region)
    assert isinstance(encoded["counts"], str)
    assert np.array_equal(coco.decode(encoded).astype(bool), region)


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


def test_a_slanted_side_has_no_points_between_its_corners() -> None:
    (outline,) = polygons(np.tri(8, dtype=bool))
    assert len(outline) == 2 * 6


def test_polygons_reach_the_images_edge() -> None:
    (outline,) = polygons(np.ones((5, 8), bool))
    assert (max(outline[::2]), max(outline[1::2]), min(outline)) == (8, 5, 0)


def rotated(outline: list[float]) -> list[tuple[float, float]]:
    points = list(zip(outline[::2], outline[1::2], strict=True))
    first = points.index(min(points))
    return points[first:] + points[:first]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_polygons_of_a_large_region_are_those_of_the_part_that_holds_it(share: float) -> None:
    made = np.random.default_rng(3)
    part = np.kron(made.random((200, 40)) < share, np.ones((10, 12), bool))
    part[made.random(part.shape) < 0.0005] ^= True
    whole = np.zeros((2000, 3 * 480), bool)
    whole[:, :480] = part
    found = polygons(whole)
    assert sorted(map(rotated, found)) == sorted(map(rotated, polygons(part)))


def test_an_outline_of_a_large_region_comes_before_those_of_its_holes() -> None:
    region = np.zeros((3000, 1000), bool)
    region[10:2990, 10:990] = True
    region[20:2980, 20:980] = False
    region[30:2970, 30:970] = True
    sizes = [shoelace(outline) for outline in polygons(region)]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)


def shoelace(outline: list[float]) -> float:
    """The area that a flat [x, y, …] outline encloses."""
    x, y = np.array(outline[::2]), np.array(outline[1::2])
    return float(abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2)


@pytest.mark.parametrize("size", [(5000, 400), (400, 5000), (1_200_000, 1), (1, 1_200_000)])
def test_a_large_map_enlarged_in_parts_has_no_seams(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(2).integers(0, 256, (32, 32), np.uint8)
    found = enlarge(frame, plan(*size, STRETCH)).astype(int)
    whole = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
    assert np.abs(found - np.asarray(whole)).max() <= 1


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (333, 500)])
def test_a_mask_is_that_of_pillows_resize_but_for_near_ties(size: tuple[int, int]) -> None:
    """SIMD may differ from Pillow by 1 or 2 of 255: a pixel whose two best classes are so close may change."""
    rows, columns = np.mgrid[:64, :64]
    maps = np.stack([np.cos(rows / (5 + k) + k) * np.sin(columns / (7 - k)) for k in range(4)])
    shares = np.exp(3 * maps) / np.exp(3 * maps).sum(axis=0)
    ids = shares.argmax(axis=0).astype(np.uint8)
    confidence = np.round(shares.max(axis=0) * 255).astype(np.uint8)

    found = mask_on_image(ids, confidence, plan(*size, STRETCH), classes=4)

    shown = [
        Image.fromarray(class_probability(ids, confidence, k, 4)).resize(
            size, Image.Resampling.BILINEAR
        )
        for k in range(4)
    ]
    by_pillow = np.stack([np.asarray(one) for one in shown]).astype(int)
    best = by_pillow.max(axis=0)
    assert np.abs(found.confidence - best).max() <= 2
    other = found.ids != by_pillow.argmax(axis=0)
    assert other.mean() < 1e-3
    chosen = np.take_along_axis(by_pillow, found.ids[None].astype(np.intp), axis=0)[0]
    assert (best - chosen).max() <= 2


@pytest.mark.parametrize("size", [(3000, 3001), (1, 9_000_000), (9_000_000, 1), (2_000_000, 5)])
@pytest.mark.parametrize("first", [False, True])
def test_a_large_region_is_encoded_as_pycocotools_does(
    size: tuple[int, int], *, first: bool
) -> None:
    region = np.zeros(size, np.bool_)
    region[: size[0] // 3 + 1, size[1] // 4 :] = True
    region[size[0] // 2 :, : size[1] // 2] = True
    region[0, 0] = first
    region[-1, -1] = not first
    expected = coco.encode(np.asfortranarray(region, np.uint8))
    assert rle(region) == {"size": list(size), "counts": expected["counts"].decode()}
