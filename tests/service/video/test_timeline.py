"""When the frames of a file are shown, read without decoding where the packets say it."""

import threading
from io import BytesIO

import pytest

from service.video.timeline import shown_times
from tests.clips import HEADER_FIRST, counting, encode_clip, ramp


def times_of(body: bytes) -> list[float]:
    return shown_times(BytesIO(body), threading.Event())


def test_the_times_are_those_at_which_frames_are_shown() -> None:
    times = [0.0, 0.1, 0.35, 1.0, 1.05]
    body = encode_clip(
        map(ramp, range(5)), times=times, options={"bf": "2"}, container_options=HEADER_FIRST
    )
    assert times_of(body) == pytest.approx(times, abs=0.002)


def test_interlaced_frames_are_decoded_for_their_times() -> None:
    body = encode_clip(map(ramp, range(30)), options={"flags": "+ildct+ilme", "bf": "2"})
    assert times_of(body) == pytest.approx([number / 10 for number in range(30)])


@pytest.mark.parametrize(("form", "codec"), [("webm", "libvpx"), ("avi", "mpeg4")])
def test_the_times_of_a_clip_that_is_cut_short_are_those_that_came(form: str, codec: str) -> None:
    body = counting(60, form, codec)
    times = times_of(body[: len(body) * 7 // 10])
    assert 10 < len(times) < 60
    assert times == pytest.approx([number / 10 for number in range(len(times))], abs=0.001)


@pytest.mark.parametrize(("form", "codec"), [("matroska", "libx264"), ("mp4", "libx264")])
def test_a_clip_that_is_cut_before_its_first_frame_has_no_times(form: str, codec: str) -> None:
    body = counting(60, form, codec)
    assert times_of(body[: len(body) * 3 // 10]) == []


def test_reading_ends_when_it_is_stopped() -> None:
    stopped = threading.Event()
    stopped.set()
    assert shown_times(BytesIO(counting(60)), stopped) == []
