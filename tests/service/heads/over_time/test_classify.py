"""Classes over time, by hand-made probabilities."""

import math

import numpy as np
import pytest

from service.heads.over_time.classify import ClassifyCombiner

LABELS = ("cat", "dog", "owl")
CAT, DOG = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.8, 0.1])


def test_the_mean_is_over_all_frames_and_each_frame_has_its_own_result() -> None:
    combiner = ClassifyCombiner(LABELS, top_k=2, smoothing_seconds=1.0)
    results = [
        combiner.add(second, probabilities)
        for second, probabilities in enumerate([CAT, CAT, CAT, DOG])
    ]
    assert [result["predictions"][0]["label"] for result in results] == ["cat", "cat", "cat", "dog"]
    mean = combiner.summary()["mean"]
    assert [(one["label"], one["probability"]) for one in mean] == [("cat", 0.625), ("dog", 0.275)]


def test_smoothing_has_a_time_constant_in_seconds_whatever_the_distance_between_frames() -> None:
    coarse, fine = (ClassifyCombiner(LABELS, top_k=3, smoothing_seconds=2.0) for _ in range(2))
    coarse.add(0.0, CAT)
    fine.add(0.0, CAT)
    once = coarse.add(2.0, DOG)["smoothed"]
    for step in range(1, 21):
        often = fine.add(step / 10, DOG)["smoothed"]
    expected = math.exp(-1) * 0.8 + (1 - math.exp(-1)) * 0.1
    found = {one["label"]: one["probability"] for one in once}
    assert found["cat"] == pytest.approx(expected, abs=1e-6)
    assert {one["label"]: one["probability"] for one in often} == pytest.approx(found)


def test_segments_are_where_one_class_stays_on_top_and_one_odd_frame_does_not_break_them() -> None:
    frames = [CAT] * 10 + [DOG] + [CAT] * 10 + [DOG] * 20
    smooth = ClassifyCombiner(LABELS, top_k=1, smoothing_seconds=1.0)
    raw = ClassifyCombiner(LABELS, top_k=1, smoothing_seconds=0)
    for number, probabilities in enumerate(frames):
        smooth.add(number / 5, probabilities)
        raw.add(number / 5, probabilities)
    segments = smooth.summary()["segments"]
    assert [segment["label"] for segment in segments] == ["cat", "dog"]
    assert segments[0]["start"] == 0
    assert sum(segment["frames"] for segment in segments) == len(frames)
    assert segments[0]["end"] < segments[1]["start"] < segments[1]["end"] == 8.0
    labels = [segment["label"] for segment in raw.summary()["segments"]]
    assert labels == ["cat", "dog", "cat", "dog"]
