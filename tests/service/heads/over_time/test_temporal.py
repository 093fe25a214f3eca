"""Windows over the features of frames, and what a temporal network's outputs become."""

import numpy as np
import pytest
from PIL import Image

from service.card import Window as WindowShape
from service.heads.over_time.combiner import Window
from service.heads.over_time.temporal import TemporalCombiner
from tests.source_images import source_of

LABELS = ("left", "right")


def fed(frames: int, stride: int = 2, window: int = 4) -> tuple[TemporalCombiner, list[Window]]:
    """Return a combiner that got frames half a second apart, whose features are their numbers, and its windows."""
    combiner = TemporalCombiner(
        LABELS, top_k=2, window=WindowShape(frames=window, stride=stride, fps=2)
    )
    due: list[Window] = []
    for number in range(frames):
        features = combiner.keep({"features": np.full(3, number, np.float32)}, source_of(8, 8))
        assert combiner.add(number / 2, features) == {}
        due += combiner.take_windows()
    combiner.flush()
    return combiner, due + combiner.take_windows()


@pytest.mark.parametrize(
    ("frames", "stride", "starts"),
    [
        (3, 2, []),
        (4, 2, [0]),
        (8, 2, [0, 2, 4]),
        (9, 2, [0, 2, 4, 5]),
        (10, 6, [0, 6]),
        (12, 4, [0, 4, 8]),
    ],
)
def test_windows_slide_and_the_last_ends_with_the_video(
    frames: int, stride: int, starts: list[int]
) -> None:
    _, windows = fed(frames, stride)
    assert [int(window.features[0, 0]) for window in windows] == starts
    for window, start in zip(windows, starts, strict=True):
        assert window.features.shape == (4, 3)
        assert window.features[:, 0].tolist() == list(range(start, start + 4))
        assert (window.start, window.end) == (start / 2, (start + 3) / 2)


def test_the_summary_is_the_mean_of_the_windows() -> None:
    combiner, windows = fed(6)
    for window, left in zip(windows, (0.9, 0.5), strict=True):
        combiner.add_window(window, {"probabilities": np.array([left, 1 - left])})
    summary = combiner.summary()
    assert [(one["label"], one["probability"]) for one in summary["predictions"]] == [
        ("left", 0.7), ("right", 0.3),
    ]  # fmt: skip
    assert [(one["start"], one["end"]) for one in summary["windows"]] == [(0.0, 1.5), (1.0, 2.5)]


def test_a_video_shorter_than_a_window_says_what_would_help() -> None:
    combiner, windows = fed(3)
    assert windows == []
    summary = combiner.summary()
    assert summary["predictions"] == []
    assert "more fps" in summary["detail"]


def test_a_frame_shows_the_result_of_the_latest_window() -> None:
    combiner, windows = fed(4)
    image = Image.new("RGB", (200, 100), "gray")
    assert combiner.caption(image) is image
    combiner.add_window(windows[0], {"probabilities": np.array([0.2, 0.8])})
    assert np.asarray(combiner.caption(image)).std() > 0
