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
    shown = np.asarray(overlay_heat(RED, levels, (0, 0, 20, 10))).astype(int)
    half_gray = np.array([130, 30, 30])  # the red of luma 60, half of its color lost
    assert shown[0, 0] == pytest.approx(half_gray, abs=1)
    assert shown[0, 19] == pytest.approx(0.2 * half_gray + 0.8 * np.array(HOT), abs=1)


def test_what_the_network_did_not_see_fades_without_heat() -> None:
    levels = np.full((10, 20), 255, np.uint8)
    shown = np.asarray(overlay_heat(RED, levels, (5, 2, 15, 8))).astype(int)
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
def test_a_crop_has_its_longer_side_as_asked(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    assert crop_image(RED, box).size == size


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
