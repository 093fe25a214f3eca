"""Detections over time, by hand-made boxes."""

import numpy as np
from numpy.typing import NDArray

from service.heads.detect import DetectionOptions
from service.heads.over_time.detect import DetectCombiner
from tests.source_images import source_of

LABELS = ("", "cat", "dog")
SOURCE = source_of(200, 100)


def frame(*things: tuple[float, int, float]) -> dict[str, NDArray[np.generic]]:
    """Return the outputs for things of a fifth of the frame's side, each by its left edge, class and score."""
    return {
        "boxes": np.array([[left, 0.2, left + 0.2, 0.4] for left, _, _ in things], np.float32),
        "scores": np.array([score for _, _, score in things], np.float32),
        "classes": np.array([class_id for _, class_id, _ in things], np.int32),
    }


def combined(*frames: dict[str, NDArray[np.generic]]) -> tuple[DetectCombiner, list[list[int]]]:
    """Return a combiner that got these frames, half a second apart, and each frame's track numbers."""
    combiner = DetectCombiner(LABELS, DetectionOptions())
    numbers = []
    for number, outputs in enumerate(frames):
        result = combiner.add(number / 2, combiner.keep(outputs, SOURCE))
        numbers.append([found["track"] for found in result["detections"]])
    return combiner, numbers


def test_a_thing_has_one_number_in_all_frames() -> None:
    _, numbers = combined(
        frame((0.1, 1, 0.9), (0.7, 2, 0.8)),
        frame((0.7, 2, 0.9), (0.15, 1, 0.8)),
        frame((0.2, 1, 0.7)),
    )
    assert numbers == [[1, 2], [2, 1], [1]]


def test_a_track_has_its_times_its_mean_score_and_its_boxes_in_pixels() -> None:
    combiner, _ = combined(frame((0.1, 1, 0.9)), frame((0.15, 1, 0.5)))
    (track,) = combiner.summary()["tracks"]
    assert (track["label"], track["class_id"], track["frames"]) == ("cat", 1, 2)
    assert (track["start"], track["end"], track["score"]) == (0.0, 0.5, 0.7)
    assert [(point["time"], point["box"]) for point in track["path"]] == [
        (0.0, {"x_min": 20.0, "y_min": 20.0, "x_max": 60.0, "y_max": 40.0}),
        (0.5, {"x_min": 30.0, "y_min": 20.0, "x_max": 70.0, "y_max": 40.0}),
    ]


def test_what_is_under_the_threshold_is_in_no_track() -> None:
    combiner, numbers = combined(frame((0.1, 1, 0.2)))
    assert numbers == [[]]
    assert combiner.summary() == {"tracks": []}


def test_a_frame_is_drawn_with_its_boxes() -> None:
    combiner = DetectCombiner(LABELS, DetectionOptions())
    drawn = combiner.draw(frame((0.4, 1, 0.9)), SOURCE)
    assert drawn.size == (200, 100)
    assert np.ptp(np.asarray(drawn).reshape(-1, 3), axis=0).max() > 50
