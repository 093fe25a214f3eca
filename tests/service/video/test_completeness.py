"""A whole file is complete, whatever its other streams and gaps are; a file that is cut short is truncated."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from service.errors import TooManyFramesError
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import encode_clip, number_of, ramp


def ended(body: bytes) -> tuple[int, str, str]:
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    frames = list(clip)
    return len(frames), clip.ended, clip.detail


def with_sound(form: str, codec: str, sound: str, *, starts: float, sound_seconds: float) -> bytes:
    """Return two seconds of video that start late, and sound from the start."""
    body = BytesIO()
    with av.open(body, "w", format=form) as container:
        video = container.add_stream(codec, rate=10)
        audio = container.add_stream(sound, rate=48000)
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio.layout = "mono"
        packets: list[Any] = []
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(ramp(number), format="rgb24")
            frame.pts, frame.time_base = number + round(starts * 10), Fraction(1, 10)
            packets += video.encode(frame)
        packets += video.encode(None)
        step = 960 if sound == "libopus" else 1024
        for at in range(0, round(sound_seconds * 48000), step):
            silence = np.zeros((1, step), np.float32)
            form_of = "fltp" if sound == "aac" else "flt"
            tone = av.AudioFrame.from_ndarray(silence, format=form_of, layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48000, at, Fraction(1, 48000)
            packets += audio.encode(tone)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            container.mux(packet)
    return body.getvalue()


@pytest.mark.parametrize(
    ("form", "codec", "sound"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "mpeg4", "aac"),
        ("matroska", "libx264", "aac"),
        ("webm", "libvpx", "libopus"),
        ("avi", "mpeg4", "aac"),
    ],
)
@pytest.mark.parametrize(
    ("starts", "sound_seconds"),
    [(0, 12), (0, 1), (4, 6)],
    ids=["long sound", "short sound", "late video"],
)
def test_sound_of_another_length_is_no_damage(
    form: str, codec: str, sound: str, starts: float, sound_seconds: float
) -> None:
    body = with_sound(form, codec, sound, starts=starts, sound_seconds=sound_seconds)
    assert ended(body) == (20, "complete", "")


@pytest.mark.parametrize(
    ("form", "codec", "sound"), [("matroska", "libx264", "aac"), ("webm", "libvpx", "libopus")]
)
def test_a_file_with_sound_that_is_cut_short_is_truncated(
    form: str, codec: str, sound: str
) -> None:
    body = with_sound(form, codec, sound, starts=0, sound_seconds=12)
    assert ended(body[: len(body) * 6 // 10])[1] == "truncated"


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"),
        ("matroska", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("avi", "libx264"),
    ],
)
@pytest.mark.parametrize(
    "times",
    [[0, 0.1, 0.2, 0.3, 9.0], [0, 5.0, 5.1, 9.0, 9.1], [3.0, 3.1, 3.2, 3.3, 3.4]],
    ids=["stays at the end", "gaps", "starts late"],
)
def test_frames_that_stay_are_no_damage(form: str, codec: str, times: list[float]) -> None:
    body = encode_clip(
        map(ramp, range(5)), form=form, codec=codec, times=times if form != "avi" else None,
        options={"bf": "0"} if codec == "libx264" else {},
    )  # fmt: skip
    assert ended(body) == (5, "complete", "")


def avi_with_gaps(periods: list[int], codec: str, options: dict[str, str]) -> bytes:
    """Return an AVI whose frames are shown from these periods on: the writer fills gaps with empty packets.

    Where frames are reordered, the file does not have the times of its last few.
    """
    body = BytesIO()
    with av.open(body, "w", format="avi") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, at in enumerate(periods):
            frame = av.VideoFrame.from_ndarray(ramp(number), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return body.getvalue()


@pytest.mark.parametrize(
    "periods",
    [[0, 1, 2, 23, 24, 25, 26], [*range(7), *range(19, 40)], [0, *range(9, 30), 40, 51, 52, 53]],
    ids=["few", "one gap", "three gaps"],
)
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg4", {}),
        ("mpeg4", {"bf": "2"}),
        ("mpeg2video", {"bf": "2"}),
        ("libx264", {"bf": "0"}),
        ("libx264", {"bf": "1"}),
        ("libx264", {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}),
    ],
    ids=str,
)
def test_empty_packets_of_an_avi_are_no_damage_and_keep_the_times(
    periods: list[int], codec: str, options: dict[str, str]
) -> None:
    body = avi_with_gaps(periods, codec, options)
    assert ended(body) == (len(periods), "complete", "")
    for sampling in (Sampling(every_n=1), Sampling(count=1000)):
        clip = open_clip(BytesIO(body), sampling, VideoLimits())
        frames = list(clip)
        assert [frame.seconds for frame in frames] == pytest.approx([at / 10 for at in periods])
        numbers = [number_of(frame.image()) for frame in frames]
        assert numbers == pytest.approx(range(len(periods)), abs=3)
    assert ended(body[:-200])[1] == "truncated"


def test_few_frames_under_a_label_of_many_are_not_refused() -> None:
    times = [0.1 * number for number in range(20)] + [12.0]
    body = encode_clip(map(ramp, range(21)), form="webm", codec="libvpx", rate=1000, times=times)
    limits = VideoLimits(max_frames=21)
    for sampling in (Sampling(every_n=1), Sampling(fps=240)):
        clip = open_clip(BytesIO(body), sampling, limits)
        assert len(list(clip)) == 21
    with pytest.raises(TooManyFramesError, match="21 frames would be sampled"):
        list(open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_frames=20)))
