from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging.overlay import (
    ImageFormat,
    LabeledBox,
    cut_out,
    draw_boxes,
    draw_mask,
    encode_image,
    indexed_mask,
)
from service.imaging.palette import class_color

GRAY = (128, 128, 128)


def gray(width: int = 240, height: int = 200) -> Image.Image:
    return Image.new("RGB", (width, height), GRAY)


def changed(image: Image.Image) -> NDArray[np.bool_]:
    """Return where an image is not the gray that it began as, bool (height, width)."""
    different: NDArray[np.bool_] = (np.asarray(image) != GRAY).any(axis=2)
    return different


def test_a_box_is_drawn_in_its_classes_color_on_its_edges_and_not_inside() -> None:
    drawn = draw_boxes(gray(), [LabeledBox((60, 80, 180, 160), "cat", 5)])
    assert drawn.getpixel((60, 120)) == drawn.getpixel((180, 120)) == class_color(5)
    assert drawn.getpixel((120, 80)) == drawn.getpixel((120, 160)) == class_color(5)
    assert drawn.getpixel((120, 120)) == drawn.getpixel((20, 180)) == GRAY
    assert drawn.getpixel((59, 120)) == (255, 255, 255), "a light rim"


def test_the_image_itself_stays_as_it_was() -> None:
    image = gray()
    draw_boxes(image, [LabeledBox((60, 80, 180, 160), "cat", 5)])
    assert not changed(image).any()


def test_the_first_box_lies_on_top() -> None:
    boxes = [LabeledBox((60, 80, 180, 160), "", 5), LabeledBox((60, 80, 180, 160), "", 9)]
    assert draw_boxes(gray(), boxes).getpixel((60, 120)) == class_color(5)


def test_a_box_without_area_has_its_label_only() -> None:
    drawn = draw_boxes(gray(), [LabeledBox((60, 100, 60.5, 160), "cat", 5)])
    assert not changed(drawn)[101:].any()
    assert changed(drawn)[:100].any()


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((60.0, 80.0, 120.0, 160.0), slice(55, 81), slice(60, 110)),
        ((60.0, 2.0, 120.0, 160.0), slice(2, 28), slice(60, 110)),
        ((238.0, 80.0, 240.0, 160.0), slice(55, 81), slice(180, 240)),
    ],
    ids=["above", "inside at the upper edge", "moved in from the right edge"],
)
def test_a_label_is_always_on_the_image(
    box: tuple[float, float, float, float], rows: slice, columns: slice
) -> None:
    drawn = draw_boxes(gray(), [LabeledBox(box, "WWWW", 5)])
    tab = (np.asarray(drawn)[rows, columns] == class_color(5)).all(axis=2)
    ink = (np.asarray(drawn)[rows, columns] == (255, 255, 255)).all(axis=2) | (
        np.asarray(drawn)[rows, columns] == 0
    ).all(axis=2)
    assert tab.mean() > 0.3
    assert ink.any()


def test_lines_grow_with_the_image() -> None:
    box = LabeledBox((0.25, 0.5, 0.75, 0.9), "", 5)

    def thickness(side: int) -> int:
        scaled = LabeledBox(
            (box.box[0] * side, box.box[1] * side, box.box[2] * side, box.box[3] * side), "", 5
        )
        row = np.asarray(draw_boxes(gray(side, side), [scaled]))[round(side * 0.7)]
        return int((row == class_color(5)).all(axis=1).sum())

    assert thickness(200) == 2 * 3
    assert thickness(1200) == 2 * 10


def test_a_mask_tints_its_class_and_leaves_the_rest() -> None:
    ids = np.zeros((200, 240), np.uint8)
    ids[:, 120:] = 7
    drawn = np.asarray(draw_mask(gray(), ids))
    expected = [round(0.45 * 128 + 0.55 * channel) for channel in class_color(7)]
    assert drawn[0, 200] == pytest.approx(expected, abs=2)
    assert not changed(Image.fromarray(drawn))[:, :120].any()


def test_the_index_of_a_palette_image_is_the_class() -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.open(BytesIO(encode_image(indexed_mask(ids), "png").content))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), ids)
    assert image.convert("RGB").getpixel((7, 0)) == class_color(7)


def test_a_cutout_keeps_its_colors_and_has_the_opacity_as_alpha() -> None:
    opacity = np.full((200, 240), 77, np.uint8)
    result = cut_out(gray(), opacity)
    assert result.mode == "RGBA"
    assert result.getpixel((3, 4)) == (*GRAY, 77)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_an_encoded_image_says_what_it_is(form: ImageFormat) -> None:
    rendered = encode_image(gray(), form)
    image = Image.open(BytesIO(rendered.content))
    assert rendered.media_type == f"image/{form}" == f"image/{str(image.format).lower()}"
    assert image.size == (240, 200)
