"""A video's events in each form, and how each form ends with an error."""

import json
from io import BytesIO

import av
import pytest
from PIL import Image

from service.errors import BrokenImageError, DeadlineError
from service.video.events import VideoFrame, VideoStart, VideoSummary
from service.video.reader import Counts, VideoInfo
from service.video.writers import WRITERS, VideoWriter

INFO = VideoInfo(
    container="mov",
    codec="h264",
    width=64,
    height=48,
    rotation=0,
    fps=25.0,
    seconds=2.0,
    expected=2,
)
IMAGE = Image.new("RGB", (64, 48), "red")
EVENTS = (
    VideoStart({"model": "colors", "version": 3}, "classify", INFO),
    VideoFrame(0, 0.0, {"predictions": []}, IMAGE),
    VideoFrame(12, 0.4804, BrokenImageError("too large")),
    VideoSummary("truncated", "cut short", Counts(13, 2, 37), {"mean": []}),
)


def written(media_type: str) -> tuple[VideoWriter, list[bytes]]:
    writer = WRITERS[media_type]()
    assert writer.media_type == media_type
    return writer, [writer.write(event) for event in EVENTS]


def test_one_json_comes_at_the_end() -> None:
    _, pieces = written("application/json")
    assert pieces[:3] == [b"", b"", b""]
    assert json.loads(pieces[3]) == {
        "model": "colors", "version": 3, "task": "classify",
        "video": {
            "container": "mov", "codec": "h264", "width": 64, "height": 48, "rotation": 0,
            "fps": 25.0, "seconds": 2.0, "decoded": 13, "sampled": 2, "skipped": 37,
        },
        "ended": "truncated", "detail": "cut short",
        "frames": [
            {"number": 0, "time": 0.0, "predictions": []},
            {"number": 12, "time": 0.48, "error": {"code": "broken_image", "detail": "too large"}},
        ],
        "summary": {"mean": []},
    }  # fmt: skip


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/event-stream"])
def test_each_event_is_a_piece_with_its_kind_and_progress(media_type: str) -> None:
    _, pieces = written(media_type)
    lines = [
        piece.decode().rstrip("\n").splitlines()[-1].removeprefix("data: ") for piece in pieces
    ]
    start, first, second, summary = (json.loads(line) for line in lines)
    assert (start["event"], start["expected"], start["video"]["codec"]) == ("start", 2, "h264")
    assert [(one["event"], one["done"], one["of"]) for one in (first, second)] == [
        ("frame", 1, 2), ("frame", 2, 2),
    ]  # fmt: skip
    assert (summary["event"], summary["counts"]["skipped"]) == ("summary", 37)


def test_server_sent_events_name_their_kind_and_end_with_an_empty_line() -> None:
    _, pieces = written("text/event-stream")
    assert pieces[0].startswith(b"event: start\ndata: {")
    assert all(piece.endswith(b"\n\n") for piece in pieces)


def test_an_mp4_holds_the_frames_that_were_drawn() -> None:
    _, pieces = written("video/mp4")
    assert pieces[2] == b""
    with av.open(BytesIO(b"".join(pieces)), "r") as container:
        (frame,) = container.decode(video=0)
        assert (frame.width, frame.height) == (64, 48)


@pytest.mark.parametrize("media_type", list(WRITERS))
def test_an_error_ends_what_has_begun(media_type: str) -> None:
    writer = WRITERS[media_type]()
    for event in EVENTS[:2]:
        writer.write(event)
    last = writer.fail(DeadlineError("late"))
    if media_type in {"application/x-ndjson", "text/event-stream"}:
        assert (
            b'"event":"error","error":{"code":"deadline_exceeded","status":504,"detail":"late"}'
            in last
        )
    elif media_type == "application/json":
        assert last == b""
