"""The JSON of a video's events, as docs/video.md describes it."""

from service.errors import BrokenImageError
from service.video.events import VideoFrame, VideoStart, VideoSummary
from service.video.reader import Counts, VideoInfo


def test_the_start_names_the_model_and_what_the_header_declares() -> None:
    info = VideoInfo(
        container="webm", codec="vp9", width=640, height=480, rotation=90, fps=29.97, seconds=None, expected=12
    )  # fmt: skip
    assert VideoStart({"model": "colors", "version": 3}, "classify", info).json() == {
        "model": "colors",
        "version": 3,
        "task": "classify",
        "expected": 12,
        "video": {
            "container": "webm", "codec": "vp9", "width": 640, "height": 480, "rotation": 90,
            "fps": 29.97, "seconds": None,
        },
    }  # fmt: skip


def test_a_frame_has_its_number_its_time_in_milliseconds_and_its_result() -> None:
    frame = VideoFrame(12, 0.48049, {"predictions": [1]})
    assert frame.json() == {"number": 12, "time": 0.48, "predictions": [1]}
    assert VideoFrame(0, 1.0006, {}).json() == {"number": 0, "time": 1.001}


def test_a_frame_with_an_error_has_its_code_and_its_detail() -> None:
    assert VideoFrame(7, 0.2, BrokenImageError("It is cut short.")).json() == {
        "number": 7,
        "time": 0.2,
        "error": {"code": "broken_image", "detail": "It is cut short."},
    }


def test_the_summary_says_why_a_video_ended_only_where_it_ended_early() -> None:
    counts = Counts(decoded=13, sampled=2, skipped=37)
    said = {
        "ended": "complete",
        "counts": {"decoded": 13, "sampled": 2, "skipped": 37},
        "summary": {"mean": []},
    }
    assert VideoSummary("complete", "", counts, {"mean": []}).json() == said
    early = VideoSummary("limit", "the 2 frames allowed", counts, {"mean": []}).json()
    assert early == {**said, "ended": "limit", "detail": "the 2 frames allowed"}
