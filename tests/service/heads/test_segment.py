from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.heads.segment import (
    SegmentClasses,
    draw_confidence,
    draw_cutout,
    draw_index_mask,
    draw_segments,
    segment,
)
from service.imaging.palette import class_color
from tests.source_images import source_of

CLASSES = SegmentClasses(("background", "disc", "square"), 0)


def outputs() -> dict[str, NDArray[Any]]:
    """A 10×10 square and a 40×40 one on a frame of 100×100."""
    ids = np.zeros((100, 100), np.uint8)
    ids[10:20, 10:20] = 1
    ids[40:80, 50:90] = 2
    return {"mask": ids, "confidence": np.where(ids > 0, 204, 255).astype(np.uint8)}


RENDERINGS = {
    "mask": draw_index_mask,
    "overlay": draw_segments,
    "cutout": draw_cutout,
    "confidence": draw_confidence,
}


def image(rendering: Any, size: tuple[int, int] = (200, 100)) -> Image.Image:
    return RENDERINGS[rendering](outputs(), source_of(*size), CLASSES)


def test_areas_are_told_largest_first_and_the_background_is_none() -> None:
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


def test_outlines_come_when_asked_for() -> None:
    result = segment(outputs(), source_of(100, 100), classes=CLASSES, with_polygons=True)
    assert [len(one["polygons"]) for one in result["segments"]] == [1, 1]


def test_nothing_but_background_is_an_empty_list() -> None:
    empty = {"mask": np.zeros((4, 4), np.uint8), "confidence": np.full((4, 4), 255, np.uint8)}
    assert segment(empty, source_of(9, 9), classes=CLASSES, with_polygons=True)["segments"] == []


def test_the_masks_index_is_the_class_id() -> None:
    mask = image("mask")
    assert (mask.mode, mask.size) == ("P", (200, 100))
    assert mask.getpixel((140, 60)) == 2
    assert mask.getpixel((30, 15)) == 1
    assert mask.convert("RGB").getpixel((140, 60)) == class_color(2)


def test_the_overlay_colors_things_and_leaves_the_rest() -> None:
    overlay = image("overlay").convert("RGB")
    assert overlay.getpixel((2, 2)) == (128, 128, 128)
    assert overlay.getpixel((140, 60)) != (128, 128, 128)


def test_the_cutout_is_transparent_where_the_background_is() -> None:
    cutout = image("cutout")
    assert cutout.mode == "RGBA"
    assert [cutout.getpixel(at)[3] for at in ((2, 2), (140, 60))] == [0, 230]  # type: ignore[index]


def test_the_confidence_is_gray() -> None:
    confidence = image("confidence")
    assert confidence.mode == "L"
    assert (confidence.getpixel((2, 2)), confidence.getpixel((140, 60))) == (255, 204)
