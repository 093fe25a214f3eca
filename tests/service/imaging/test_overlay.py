"""What is drawn where, by hand-made boxes and masks."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidParameterError
from service.imaging.masks import ImageMask
from service.imaging.overlay import (
    ImageFormat,
    LabeledBox,
    RenderedImage,
    cut_out,
    draw_boxes,
    draw_mask,
    encode_image,
    indexed_mask,
)
from service.imaging.palette import class_color

GRAY = (128, 128, 128)


def plain(size: tuple[int, int] = (120, 90)) -> Image.Image:
    return Image.new("RGB", size, GRAY)


def rows(*ids: int, unseen: int | None = None) -> ImageMask:
    """A mask of one pixel for each id, one below the other; the row `unseen` was not seen."""
    mask = np.array(ids, np.uint8)[:, None]
    seen = np.arange(len(ids))[:, None] != unseen
    return ImageMask(mask, np.where(seen, 255, 0).astype(np.uint8), seen)


def test_a_box_is_drawn_in_its_classs_color() -> None:
    drawn = draw_boxes(plain(), [LabeledBox((20.0, 40.0, 100.0, 80.0), "cup", 5)])
    assert drawn.getpixel((60, 40)) == class_color(5)
    assert drawn.getpixel((60, 60)) == GRAY


def test_the_first_box_lies_on_top() -> None:
    box = (20.0, 40.0, 100.0, 80.0)
    drawn = draw_boxes(plain(), [LabeledBox(box, "", 1), LabeledBox(box, "", 2)])
    assert drawn.getpixel((60, 80)) == class_color(1)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (110.0, 0.0), (110.0, 80.0)])
def test_a_label_stays_inside_the_image(corner: tuple[float, float]) -> None:
    left, top = corner
    box = (left, top, left + 10, top + 10)
    without = np.asarray(draw_boxes(plain(), [LabeledBox(box, "", 3)]))
    changed = np.any(
        without != np.asarray(draw_boxes(plain(), [LabeledBox(box, "cup", 3)])), axis=2
    )
    width = np.ptp(np.flatnonzero(changed.any(axis=0))) + 1
    alone = draw_boxes(plain(), [LabeledBox((40.0, 40.0, 50.0, 50.0), "cup", 3)])
    middle = draw_boxes(plain(), [LabeledBox((40.0, 40.0, 50.0, 50.0), "", 3)])
    expected = np.any(np.asarray(alone) != np.asarray(middle), axis=2)
    assert width == pytest.approx(np.ptp(np.flatnonzero(expected.any(axis=0))) + 1, abs=8)


def test_a_box_without_area_is_its_label_only() -> None:
    drawn = draw_boxes(plain(), [LabeledBox((0.0, 0.0, 0.0, 0.0), "cup", 4)])
    pixels = np.asarray(drawn)
    assert drawn.getpixel((0, 0)) == class_color(4)
    assert (pixels[60:] == 128).all()


@pytest.mark.parametrize("background_id", [0, 1, None])
def test_a_mask_is_laid_over_every_class_but_the_background(background_id: int | None) -> None:
    drawn = np.asarray(draw_mask(plain((1, 3)), rows(0, 1, 2), background_id))[:, 0]
    plain_rows = np.flatnonzero((drawn == 128).all(axis=1)).tolist()
    assert plain_rows == ([] if background_id is None else [background_id])


@pytest.mark.parametrize("background_id", [0, 3, None])
def test_what_was_not_seen_is_not_drawn_on(background_id: int | None) -> None:
    drawn = draw_mask(plain((1, 3)), rows(1, 0, 2, unseen=1), background_id)
    assert drawn.getpixel((0, 1)) == GRAY
    assert GRAY not in {drawn.getpixel((0, 0)), drawn.getpixel((0, 2))}


@pytest.mark.parametrize(
    ("background_id", "classes", "indices", "colors"),
    [
        (0, 3, [0, 0, 2], [(0, 0, 0), (0, 0, 0), class_color(2)]),
        (2, 3, [0, 2, 2], [class_color(0), (0, 0, 0), (0, 0, 0)]),
        (None, 3, [0, 255, 2], [class_color(0), (255, 255, 255), class_color(2)]),
        (None, 255, [0, 255, 2], [class_color(0), (255, 255, 255), class_color(2)]),
        (None, 256, [0, 0, 2], [class_color(0), class_color(0), class_color(2)]),
    ],
)
def test_an_index_mask_has_an_index_for_what_was_not_seen(
    background_id: int | None,
    classes: int,
    indices: list[int],
    colors: list[tuple[int, int, int]],
) -> None:
    mask = indexed_mask(rows(0, 1, 2, unseen=1), background_id, classes)
    shown = mask.convert("RGB")
    assert [mask.getpixel((0, y)) for y in range(3)] == indices
    assert [shown.getpixel((0, y)) for y in range(3)] == colors


def test_class_255_has_its_own_color_where_it_is_a_class() -> None:
    assert indexed_mask(rows(255), None, 256).convert("RGB").getpixel((0, 0)) == class_color(255)


def test_a_cutout_keeps_its_colors_and_gets_the_alpha_given() -> None:
    opacity = np.array([[0, 128, 255]], np.uint8)
    cut = np.asarray(cut_out(plain((3, 1)), opacity))
    assert cut[0, :, 3].tolist() == [0, 128, 255]
    assert (cut[..., :3] == 128).all()


@pytest.mark.parametrize(("form", "name"), [("png", "PNG"), ("jpeg", "JPEG")])
def test_an_image_is_encoded_in_the_form_named(form: ImageFormat, name: str) -> None:
    encoded = encode_image(plain(), form)
    read = Image.open(BytesIO(encoded.content))
    assert (read.format, read.size, encoded.media_type) == (name, (120, 90), f"image/{form}")


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (65_535, 3), (3, 65_535)])
def test_boxes_and_masks_are_drawn_at_the_images_own_size_whatever_its_form(
    size: tuple[int, int],
) -> None:
    image = plain(size)
    box = LabeledBox((0.0, 0.0, float(size[0]), float(size[1])), "a rather long label", 3)
    drawn = draw_boxes(image, [box, LabeledBox((0.2, 0.2, 0.4, 0.4), "thin", 1)])
    assert drawn.size == size
    ids = np.ones(size[::-1], np.uint8)
    mask = ImageMask(ids, ids * 255, ids > 0)
    assert draw_mask(image, mask, 0).size == size


@pytest.mark.parametrize("background_id", [None, 0, 255])
def test_colors_are_mixed_with_the_pixels_to_the_bit(background_id: int | None) -> None:
    random = np.random.default_rng(4)
    pixels = random.integers(0, 256, (90, 120, 3), np.uint8)
    ids = random.integers(0, 256, (90, 120), np.uint8)
    seen = random.random((90, 120)) < 0.8
    drawn = np.asarray(draw_mask(Image.fromarray(pixels), ImageMask(ids, ids, seen), background_id))
    for y, x in np.ndindex(90, 120):
        color = class_color(int(ids[y, x]))
        is_drawn = seen[y, x] and ids[y, x] != background_id
        for channel in range(3):
            before = int(pixels[y, x, channel])
            mixed = (before * (256 - 141) + color[channel] * 141) // 256
            assert drawn[y, x, channel] == (mixed if is_drawn else before)


def test_a_large_mask_is_laid_over_the_image_in_parts_as_it_would_be_in_one() -> None:
    ids = np.resize(np.arange(7, dtype=np.uint8), (300, 5000))
    mask = ImageMask(ids, np.full_like(ids, 255), ids != 5)
    whole = np.asarray(draw_mask(plain((5000, 300)), mask, 2))
    for class_id in range(7):
        spot = (slice(0, 1), slice(class_id, class_id + 1))
        one = ImageMask(ids[spot], ids[spot], mask.seen[spot])
        expected = np.asarray(draw_mask(plain((1, 1)), one, 2))[0, 0]
        assert (whole[ids == class_id] == expected).all()


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501)])
def test_a_side_that_no_jpeg_can_have_is_refused_and_a_png_is_not(size: tuple[int, int]) -> None:
    with pytest.raises(
        InvalidParameterError, match=r"65500 pixels on a side, .* Accept: image/png"
    ):
        encode_image(plain(size), "jpeg")
    assert Image.open(BytesIO(encode_image(plain(size), "png").content)).size == size
    assert Image.open(BytesIO(encode_image(plain((65_500, 1)), "jpeg").content)).size[0] == 65_500


def test_a_rendered_image_is_described_without_its_bytes() -> None:
    described = repr(RenderedImage(b"content", "image/png", (2, 3)))
    assert "image/png" in described
    assert "(2, 3)" in described
    assert "content" not in described
