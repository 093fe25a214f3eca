from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.card import ImageInput
from service.errors import InferenceError, InvalidParameterError
from service.heads.segment import (
    SegmentClasses,
    SegmentResult,
    draw_confidence,
    draw_cutout,
    draw_index_mask,
    draw_segments,
    segment,
)
from service.imaging.palette import class_color
from tests.source_images import source_of

CLASSES = SegmentClasses(("background", "disc", "square"), 0)
GRAY, BLACK, WHITE = (128, 128, 128), (0, 0, 0), (255, 255, 255)
CROP = ImageInput(height=100, width=100, resize="crop", shorter_side=100)
LETTERBOX = ImageInput(height=100, width=100, resize="letterbox")


def outputs() -> dict[str, NDArray[Any]]:
    """A 10×10 square and a 40×40 one on a frame of 100×100."""
    ids = np.zeros((100, 100), np.uint8)
    ids[10:20, 10:20] = 1
    ids[40:80, 50:90] = 2
    return {"mask": ids, "confidence": np.where(ids > 0, 204, 255).astype(np.uint8)}


def halves(above: int, below: int, border: int | None = None) -> dict[str, NDArray[Any]]:
    """One class above another on a frame of 100×100; `border` fills the 25 rows at the top and at the bottom."""
    ids = np.full((100, 100), above, np.uint8)
    ids[50:] = below
    if border is not None:
        ids[:25] = ids[75:] = border
    return {"mask": ids, "confidence": np.full((100, 100), 255, np.uint8)}


def four(background_id: int | None) -> SegmentClasses:
    return SegmentClasses(("ant", "bee", "cat", "dog"), background_id)


def areas(result: SegmentResult) -> dict[int, int]:
    return {found["class_id"]: found["area"] for found in result["segments"]}


def test_areas_are_reported_largest_first_and_the_background_is_not() -> None:
    result = segment(outputs(), source_of(200, 100), classes=CLASSES, with_polygons=False)
    square, disc = result["segments"]
    assert (square["label"], square["class_id"], disc["label"]) == ("square", 2, "disc")
    assert square["area"] == pytest.approx(40 * 40 * 2, rel=0.05)
    assert square["fraction"] == pytest.approx(0.16, rel=0.05)
    assert square["confidence"] == pytest.approx(0.8, abs=0.02)
    assert square["box"] == pytest.approx(
        {"x_min": 100, "y_min": 40, "x_max": 180, "y_max": 80}, abs=1
    )
    assert square["rle"]["size"] == [100, 200]
    assert "polygons" not in square


def test_outlines_come_when_requested() -> None:
    result = segment(outputs(), source_of(100, 100), classes=CLASSES, with_polygons=True)
    assert [len(one["polygons"]) for one in result["segments"]] == [1, 1]


def test_nothing_but_background_is_an_empty_list() -> None:
    empty = {"mask": np.zeros((4, 4), np.uint8), "confidence": np.full((4, 4), 255, np.uint8)}
    assert segment(empty, source_of(9, 9), classes=CLASSES, with_polygons=True)["segments"] == []


@pytest.mark.parametrize(
    ("background_id", "expected"), [(0, {3: 5000}), (3, {0: 5000}), (None, {0: 5000, 3: 5000})]
)
def test_whatever_class_is_background_is_left_out(
    background_id: int | None, expected: dict[int, int]
) -> None:
    result = segment(
        halves(0, 3), source_of(100, 100), classes=four(background_id), with_polygons=False
    )
    assert areas(result) == expected


@pytest.mark.parametrize(
    ("background_id", "expected"),
    [(0, {1: 5000}), (3, {0: 5000, 1: 5000}), (None, {0: 5000, 1: 5000})],
)
def test_pixels_that_a_crop_left_out_belong_to_no_class(
    background_id: int | None, expected: dict[int, int]
) -> None:
    result = segment(
        halves(0, 1), source_of(300, 100, CROP), classes=four(background_id), with_polygons=False
    )
    assert areas(result) == expected
    for found in result["segments"]:
        assert found["fraction"] == pytest.approx(5000 / 30000, abs=1e-6)
        assert (found["box"]["x_min"], found["box"]["x_max"]) == (100, 200)
        assert found["confidence"] == 1


@pytest.mark.parametrize(
    ("background_id", "expected"),
    [(0, {3: 10000}), (2, {0: 10000, 3: 10000}), (None, {0: 10000, 3: 10000})],
)
def test_the_padding_of_a_letterbox_belongs_to_no_class_and_changes_none(
    background_id: int | None, expected: dict[int, int]
) -> None:
    padded = halves(0, 3, border=2)
    source = source_of(200, 100, LETTERBOX)
    result = segment(padded, source, classes=four(background_id), with_polygons=False)
    assert areas(result) == expected
    content = {name: frame[25:75] for name, frame in padded.items()}
    assert result == segment(
        content, source_of(200, 100), classes=four(background_id), with_polygons=False
    )


def test_the_masks_index_is_the_class_id() -> None:
    mask = draw_index_mask(outputs(), source_of(200, 100), CLASSES)
    assert (mask.mode, mask.size) == ("P", (200, 100))
    assert mask.getpixel((140, 60)) == 2
    assert mask.getpixel((30, 15)) == 1
    assert mask.convert("RGB").getpixel((140, 60)) == class_color(2)


@pytest.mark.parametrize(
    ("background_id", "upper", "lower", "unseen"),
    [
        (0, (0, BLACK), (3, class_color(3)), (0, BLACK)),
        (3, (0, class_color(0)), (3, BLACK), (3, BLACK)),
        (None, (0, class_color(0)), (3, class_color(3)), (255, WHITE)),
    ],
)
def test_an_index_mask_is_black_where_the_background_is_and_says_what_was_not_seen(
    background_id: int | None, upper: Any, lower: Any, unseen: Any
) -> None:
    mask = draw_index_mask(halves(0, 3), source_of(300, 100, CROP), four(background_id))
    colors = mask.convert("RGB")
    for at, expected in (((150, 20), upper), ((150, 80), lower), ((20, 50), unseen)):
        assert (mask.getpixel(at), colors.getpixel(at)) == expected


@pytest.mark.parametrize(("background_id", "drawn"), [(0, [3]), (3, [0]), (None, [0, 3])])
def test_an_overlay_colors_every_seen_class_but_the_background(
    background_id: int | None, drawn: list[int]
) -> None:
    overlay = draw_segments(halves(0, 3), source_of(300, 100, CROP), four(background_id))
    found = {0: overlay.getpixel((150, 20)), 3: overlay.getpixel((150, 80))}
    assert [class_id for class_id, color in found.items() if color != GRAY] == drawn
    assert overlay.getpixel((20, 50)) == overlay.getpixel((280, 50)) == GRAY


def test_the_cutout_is_transparent_where_the_background_is() -> None:
    cutout = draw_cutout(outputs(), source_of(200, 100), CLASSES)
    assert cutout.mode == "RGBA"
    assert [alpha(cutout, at) for at in ((2, 2), (140, 60))] == [0, 230]


@pytest.mark.parametrize("background_id", [0, 3])
def test_a_cutout_is_transparent_where_nothing_was_seen(background_id: int) -> None:
    cutout = draw_cutout(halves(0, 3), source_of(300, 100, CROP), four(background_id))
    opaque = {0: 255, 3: 255, background_id: 0}
    assert alpha(cutout, (150, 20)) == opaque[0]
    assert alpha(cutout, (150, 80)) == opaque[3]
    assert alpha(cutout, (20, 50)) == 0


def test_there_is_no_cutout_without_a_background() -> None:
    with pytest.raises(InvalidParameterError, match="background"):
        draw_cutout(halves(0, 3), source_of(100, 100), four(None))


def test_the_confidence_is_gray_and_0_where_nothing_was_seen() -> None:
    confidence = draw_confidence(outputs(), source_of(300, 100, CROP), CLASSES)
    assert (confidence.mode, confidence.size) == ("L", (300, 100))
    found = [confidence.getpixel(at) for at in ((102, 2), (170, 60), (20, 60))]
    assert found == [255, 204, 0]


def alpha(image: Image.Image, at: tuple[int, int]) -> int:
    return int(np.asarray(image)[at[1], at[0], 3])


def test_a_class_that_the_card_does_not_name_is_the_networks_fault() -> None:
    given = outputs()
    given["mask"][0, 0] = 3
    with pytest.raises(InferenceError, match="holds class 3, and the card names 3 classes"):
        segment(given, source_of(100, 100), classes=CLASSES, with_polygons=False)
