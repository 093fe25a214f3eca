"""What the service and a video's process send each other means the same to both."""

import json
from dataclasses import asdict, replace

import pytest

from service.errors import BrokenVideoError, TooManyPixelsError, VideoError
from service.video.allowed import ALL, Allowed
from service.video.isolated.messages import (
    MOST_TEXT,
    Shown,
    Told,
    read_refusal,
    read_told,
    read_wanted,
    refusal_text,
    told_text,
    wanted_text,
)
from service.video.kept import Kept
from service.video.reader import Counts, Ended, VideoInfo, VideoLimits
from service.video.sampling import Sampling

KEPT = Kept(4, 1.5, says_order=True)
INFO = VideoInfo("mov", "h264", 640, 480, 90, 29.97, 1.25, None)


class Clip:
    """What a clip says by now."""

    def __init__(self, ended: Ended = "truncated", detail: str = "Cut.", pixels: int = 9) -> None:
        self.counts = Counts(7, 3, 1)
        self.ended, self.detail, self.info, self.pixels = ended, detail, INFO, pixels
        self.kept: Kept | None = KEPT


def told(frame: Shown | None = None, **said: object) -> Told:
    return read_told(told_text(Clip(**said), frame), 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", [Sampling(fps=2.5), Sampling(every_n=7), Sampling(count=3)])
@pytest.mark.parametrize(
    "limits",
    [VideoLimits(), VideoLimits(float("inf"), 5, 7, 9, Allowed(("gif", "mp4"), ("h264", "av1")))],
)
def test_how_a_video_is_wanted(sampling: Sampling, limits: VideoLimits) -> None:
    found = read_wanted(wanted_text(sampling, limits))
    assert found == (sampling, limits)
    assert (found[1].allowed is ALL) == (limits.allowed is ALL)


def test_what_is_told_of_a_video_and_its_frame() -> None:
    assert told() == Told(Counts(7, 3, 1), "truncated", "Cut.", INFO, 9, KEPT)
    frame = Shown(5, 1 / 3, 77, (25, 40))
    assert told(frame, ended="limit", detail="").frame == frame


def test_a_frame_with_an_error_has_no_size() -> None:
    found = told(Shown(5, 0.5, 77, None, TooManyPixelsError("Large."))).frame
    assert found is not None
    assert (type(found.error), str(found.error)) == (TooManyPixelsError, "Large.")
    assert found.size is None


@pytest.mark.parametrize("size", [(1, 1001), (0, 5), (5, 0), (-1, -1)])
def test_a_size_is_believed_only_within_the_limits(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not"):
        told(Shown(5, 0.5, 77, size))


def test_a_long_text_is_cut() -> None:
    text = told_text(Clip(detail="\x00" * MOST_TEXT))  # type: ignore[arg-type]  # six characters each in JSON
    assert len(text) < MOST_TEXT
    error = VideoError("\U0001f600" * MOST_TEXT)
    assert len(refusal_text(error, None)) < MOST_TEXT


def test_an_error_comes_with_the_counts() -> None:
    error, counts = read_refusal(refusal_text(BrokenVideoError("Damaged."), Clip()))  # type: ignore[arg-type]
    assert (type(error), str(error), counts) == (BrokenVideoError, "Damaged.", Counts(7, 3, 1))
    assert read_refusal(refusal_text(VideoError("No."), None))[1] == Counts()


@pytest.mark.parametrize(
    "info",
    [
        replace(INFO, width=-1),
        replace(INFO, rotation=271),
        replace(INFO, fps=float("nan")),
        replace(INFO, expected=True),
        replace(INFO, container=None),  # type: ignore[arg-type]
        replace(INFO, seconds="1"),  # type: ignore[arg-type]
    ],
)
def test_a_header_that_no_video_has_is_not_believed(info: VideoInfo) -> None:
    clip = Clip()
    clip.info = info
    with pytest.raises(ValueError, match="not"):
        read_told(told_text(clip), 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"more": 1}, {"ended": None}, {"ended": []}, {"frame": 0},
                                    {"kept": {"frames": 1}}, {"kept": {**asdict(KEPT), "frames": -1}}])  # fmt: skip
def test_other_fields_are_not_believed(change: dict[str, object]) -> None:
    said = {**json.loads(told_text(Clip())), **change}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not"):
        read_told(json.dumps(said).encode(), 1000)
