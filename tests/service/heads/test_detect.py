from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.heads.detect import (
    DetectedObject,
    DetectionOptions,
    detect,
    draw_detections,
    find_things,
    labeled_box,
)
from tests.source_images import source_of

LABELS = ("", "cat", "dog")
OUTPUTS = {
    "boxes": np.array(
        [[0.1, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.62], [0.5, 0.5, 1.2, 1.1], [0, 0, 0, 0]],
        np.float32,
    ),
    "scores": np.array([0.9, 0.8, 0.4, 0.0], np.float32),
    "classes": np.array([1, 1, 2, 0], np.int32),
}
ANY = DetectionOptions()


def found(**options: Any) -> list[DetectedObject]:
    result = detect(OUTPUTS, source_of(200, 100), labels=LABELS, options=replace(ANY, **options))
    return result["detections"]


def test_boxes_are_pixels_of_the_image_clipped_to_it() -> None:
    cat, dog = found()
    assert (cat["label"], cat["class_id"]) == ("cat", 1)
    assert cat["score"] == pytest.approx(0.9)
    assert cat["box"] == {"x_min": 20, "y_min": 20, "x_max": 100, "y_max": 60}
    assert dog["box"] == {"x_min": 100, "y_min": 50, "x_max": 200, "y_max": 100}


def test_the_counts_before_and_after_suppression_are_reported() -> None:
    result = detect(OUTPUTS, source_of(200, 100), labels=LABELS, options=ANY)
    assert (result["width"], result["height"]) == (200, 100)
    assert (result["candidates"], result["kept"], len(result["detections"])) == (3, 2, 2)
    few = DetectionOptions(max_detections=1)
    result = detect(OUTPUTS, source_of(200, 100), labels=LABELS, options=few)
    assert (result["kept"], len(result["detections"])) == (2, 1)


def test_options_choose_what_is_kept() -> None:
    assert [one["label"] for one in found(score_threshold=0.5)] == ["cat"]
    assert [one["label"] for one in found(class_ids=frozenset({2}))] == ["dog"]
    assert [one["label"] for one in found(nms="none")] == ["cat", "cat", "dog"]
    assert [one["label"] for one in found(max_detections=1)] == ["cat"]


def test_padding_is_never_a_detection() -> None:
    assert all(one["score"] > 0 for one in found(score_threshold=0.0, nms="none"))


def test_the_same_box_in_every_format() -> None:
    (cat,) = found(max_detections=1, box_format="xywh")
    assert cat["box"] == {"x": 20, "y": 20, "width": 80, "height": 40}
    (cat,) = found(max_detections=1, box_format="cxcywh", normalized=True)
    assert cat["box"] == pytest.approx(
        {"x_center": 0.3, "y_center": 0.4, "width": 0.4, "height": 0.4}
    )


def test_nothing_is_an_empty_list() -> None:
    nothing = {name: rows[:0] for name, rows in OUTPUTS.items()}
    result = detect(nothing, source_of(10, 10), labels=LABELS, options=ANY)
    assert (result["detections"], result["candidates"]) == ([], 0)


@pytest.mark.parametrize("size", [(200, 100), (40, 30), (3000, 2000)])
def test_an_overlay_has_the_images_size_and_is_drawn_on(size: tuple[int, int]) -> None:
    drawn = draw_detections(OUTPUTS, source_of(*size), labels=LABELS, options=ANY)
    assert (drawn.mode, drawn.size) == ("RGB", size)
    assert np.ptp(np.asarray(drawn).reshape(-1, 3), axis=0).max() > 50


def test_a_box_is_labeled_with_its_class_and_score_in_per_cent() -> None:
    cat, _ = find_things(OUTPUTS, source_of(200, 100), labels=LABELS, options=ANY).found
    assert labeled_box(cat).text == "cat 90%"
    assert (labeled_box(cat).box, labeled_box(cat).class_id) == (cat.box, 1)
