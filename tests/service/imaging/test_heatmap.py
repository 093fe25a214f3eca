import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.imaging.colormap import heat_colors
from service.imaging.heatmap import (
    crop_image,
    heat_image,
    level_thumbnail,
    mark_boxes,
    overlay_heat,
    thumbnail,
)

HOT = tuple(heat_colors()[255].tolist())
COLD = tuple(heat_colors()[0].tolist())
RED = Image.new("RGB", (20, 10), (200, 0, 0))


def test_the_hottest_color_hides_most_of_the_image_and_the_coldest_nothing() -> None:
    levels = np.zeros((10, 20), np.uint8)
    levels[:, 10:] = 255
    shown = np.asarray(overlay_heat(RED.copy(), levels, (0, 0, 20, 10))).astype(int)
    half_gray = np.array([130, 30, 30])  # the red of luma 60, half of its color lost
    assert shown[0, 0] == pytest.approx(half_gray, abs=1)
    assert shown[0, 19] == pytest.approx(0.2 * half_gray + 0.8 * np.array(HOT), abs=1)


def test_what_the_network_did_not_see_fades_without_heat() -> None:
    levels = np.full((10, 20), 255, np.uint8)
    shown = np.asarray(overlay_heat(RED.copy(), levels, (5, 2, 15, 8))).astype(int)
    faded = (shown == [233, 153, 153]).all(axis=2)  # 40 % of the color, 60 % white
    assert faded.sum() == 20 * 10 - 10 * 6
    assert not faded[2:8, 5:15].any()


def test_heat_alone_is_gray_where_nothing_was_seen() -> None:
    levels = np.zeros((10, 20), np.uint8)
    levels[:, 10:] = 255
    alone = heat_image(levels, (5, 2, 15, 8))
    assert alone.size == (20, 10)
    assert alone.getpixel((5, 2)) == COLD
    assert alone.getpixel((14, 7)) == HOT
    assert alone.getpixel((4, 5)) == alone.getpixel((15, 5)) == (240, 240, 242)
    assert alone.getpixel((9, 1)) == alone.getpixel((9, 8)) == (240, 240, 242)


def test_the_first_box_is_the_hottest_and_lies_on_top() -> None:
    boxes = [(20.0, 20.0, 80.0, 80.0), (20.0, 20.0, 80.0, 60.0), (10.0, 10.0, 90.0, 90.0)]
    image = Image.new("RGB", (100, 100))
    marked = mark_boxes(image, boxes)
    assert marked.getpixel((21, 50)) == tuple(heat_colors()[235].tolist())
    assert marked.getpixel((50, 59)) == tuple(heat_colors()[180].tolist())
    assert marked.getpixel((11, 50)) == tuple(heat_colors()[125].tolist())
    assert image.getbbox() is None, "the image itself stays as it was"


def test_one_box_alone_is_the_hottest() -> None:
    marked = mark_boxes(Image.new("RGB", (100, 100)), [(20, 20, 80, 80)])
    assert marked.getpixel((21, 50)) == tuple(heat_colors()[235].tolist())


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 20, 10), (224, 112)),
        ((0, 0, 5, 10), (112, 224)),
        ((0, 0, 20, 0.01), (224, 1)),
        ((0, 0, 0.01, 10), (1, 224)),
    ],
)
def test_a_crop_has_its_longer_side_as_requested(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    assert crop_image(RED, box).size == size


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (1, 9), (9, 1)])
@pytest.mark.parametrize("share", [0, 0.01, 0.4, 1])
def test_boxes_of_any_size_are_marked(size: tuple[int, int], share: float) -> None:
    image = Image.new("RGB", size)
    box = (0.0, 0.0, size[0] * share, size[1] * share)
    assert mark_boxes(image, [box, box]).size == size


@pytest.mark.parametrize(
    "box", [(20.0, 4.0, 20.0, 8.0), (25, 0, 30, 5), (-3, -3, -1, -1), (5, 5, 5, 5), (19, 9, 25, 15)]
)
def test_a_crop_of_a_box_beyond_the_image_or_without_area_is_part_of_the_image(
    box: tuple[float, float, float, float],
) -> None:
    crop = crop_image(RED, box, side=6)
    assert max(crop.size) == 6
    assert crop.getcolors() == [(crop.width * crop.height, (200, 0, 0))]


def test_a_crop_far_from_the_origin_is_exact() -> None:
    image = Image.new("RGB", (40_000_000, 1))
    image.paste((0, 0, 200), (30_000_001, 0, 30_000_003, 1))
    assert crop_image(image, (30_000_001, 0, 30_000_003, 1), side=4).getcolors() == [
        (8, (0, 0, 200))
    ]


@pytest.mark.parametrize("size", [(5000, 300), (300, 5000), (1_100_000, 1)])
def test_a_large_image_is_colored_in_parts_as_it_would_be_in_one(size: tuple[int, int]) -> None:
    width, height = size
    levels = np.resize(np.arange(256, dtype=np.uint8), (height, width))
    seen = (width // 7, 0, width - 3, height)
    image = Image.new("RGB", size, (200, 0, 0))
    shown = np.asarray(overlay_heat(image.copy(), levels, seen))
    for x in (0, width // 7, 4095, 4096, width - 4, width - 1):
        alone = Image.new("RGB", (1, height), (200, 0, 0))
        column = (0, 0, 1, height) if seen[0] <= x < seen[2] else (1, 0, 1, height)
        if x < width:
            expected = np.asarray(overlay_heat(alone, levels[:, x : x + 1], column))
            np.testing.assert_array_equal(shown[:, x : x + 1], expected)


def test_a_crop_shows_its_box() -> None:
    image = RED.copy()
    image.paste((0, 0, 200), (10, 0, 20, 10))
    assert crop_image(image, (12, 2, 18, 8), side=6).getcolors() == [(36, (0, 0, 200))]


def test_a_thumbnail_is_an_image_in_a_url() -> None:
    kind, content = thumbnail(RED).split(",", maxsplit=1)
    assert kind == "data:image/png;base64"
    assert Image.open(BytesIO(base64.b64decode(content))).convert("RGB").getpixel((3, 3)) == (
        200,
        0,
        0,
    )


def test_a_thumbnail_of_levels_has_the_colors_of_heat() -> None:
    content = level_thumbnail(np.array([[0, 255]], np.uint8)).split(",", maxsplit=1)[1]
    image = Image.open(BytesIO(base64.b64decode(content))).convert("RGB")
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == (COLD, HOT)
