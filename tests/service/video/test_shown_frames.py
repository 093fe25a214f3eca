"""Which frames a video shows, for every encoding: numbers, times and pixels as in a plain decode of all of it."""

import math
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from service.video.frame import Frame
from service.video.opening import AnyFrame, open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import Pixels, encode_clip, ramp

CASES = Path(__file__).parents[2] / "data/cases"
RATE = 10
UNEVEN = [0.1 * number + (0.04 if number % 3 else 0) + (2 if number > 30 else 0) for number in range(50)]  # fmt: skip

SAMPLINGS = [
    Sampling(every_n=1), Sampling(every_n=4), Sampling(every_n=9), Sampling(fps=2), Sampling(fps=3.3),
    Sampling(count=1), Sampling(count=3), Sampling(count=7),
]  # fmt: skip


class Encoding(NamedTuple):
    """How a test encodes a video."""

    form: str
    codec: str
    options: dict[str, str] | None = None
    pixel_format: str = "yuv420p"

    def __str__(self) -> str:
        return " ".join(
            [self.form, self.codec, *(f"{k}={v}" for k, v in (self.options or {}).items())]
        )


OPEN = {"g": "12", "bf": "3", "x264-params": "open-gop=1"}
REFRESH = {"bf": "0", "x264-params": "intra-refresh=1:keyint=12"}
CLOSED = {"g": "12", "bf": "3"}
ALTREF = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20", "b": "200000", "cpu-used": "8"}
HEVC = {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:log-level=none"}
MPEG = {"bf": "2", "g": "12"}

ENCODINGS = [
    *(Encoding(form, "libx264", CLOSED) for form in ("mp4", "mov", "matroska", "avi")),
    *(Encoding(form, "libx264", OPEN) for form in ("mp4", "matroska", "avi")),
    *(Encoding(form, "libx264", REFRESH) for form in ("mp4", "matroska", "avi")),
    Encoding("mp4", "libx264", {"bf": "0", "g": "12"}),
    Encoding("mp4", "libx264", {"bf": "3", "g": "12", "flags": "+ildct+ilme"}),
    Encoding("mp4", "libx265", HEVC),
    Encoding("matroska", "libx265", HEVC),
    *(Encoding(form, "mpeg4", MPEG) for form in ("mp4", "matroska", "avi")),
    *(Encoding(form, "mpeg2video", MPEG) for form in ("mov", "matroska", "avi")),
    *(Encoding(form, "libvpx", ALTREF) for form in ("webm", "matroska")),
    *(Encoding(form, "libvpx-vp9", ALTREF) for form in ("webm", "mp4")),
    *(Encoding(form, "libsvtav1", {"preset": "12", "g": "20"}) for form in ("mp4", "matroska")),
    Encoding("mov", "prores_ks", None, "yuv422p10le"),
    Encoding("mov", "prores_ks", {"profile": "4444"}, "yuva444p10le"),
    Encoding("mov", "qtrle", None, "argb"),
    Encoding("mov", "png", None, "rgba"),
    Encoding("mov", "mjpeg", None, "yuvj420p"),
    Encoding("avi", "mjpeg", None, "yuvj420p"),
    Encoding("avi", "h263p", {"g": "12"}),
    Encoding("avi", "msmpeg4", {"g": "12"}),
    Encoding("avi", "rawvideo", None, "bgr24"),
    Encoding("gif", "gif", None, "rgb8"),
]
UNEVEN_ENCODINGS = [
    one for one in ENCODINGS if one.form not in {"avi", "gif"} and one.codec != "mpeg2video"
]


def encoded(encoding: Encoding, times: Sequence[float] | None = None, frames: int = 50) -> bytes:
    return encode_clip(
        map(moving, range(frames)), codec=encoding.codec, form=encoding.form, times=times,
        options=encoding.options, pixel_format=encoding.pixel_format, rate=RATE,
    )  # fmt: skip


def moving(number: int) -> Pixels:
    """Return a frame that differs from the others in brightness, and by where its white bar is."""
    image = ramp(number, (64, 64))
    image[20:30, number : number + 8] = 255
    return image


def plain(body: bytes) -> list[tuple[float, Pixels]]:
    """Return time and pixels of each frame that FFmpeg decodes, all in one go; an AVI has a frame in each period."""
    with av.open(BytesIO(body), "r") as container:
        stream = container.streams.video[0]
        start = (container.start_time or 0) / av.time_base
        found = []
        for number, frame in enumerate(container.decode(stream)):
            seconds = number / RATE if container.format.name == "avi" else (frame.time or 0) - start
            found.append((seconds, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))
    return found


def wanted(sampling: Sampling, times: Sequence[float]) -> list[int]:
    """Return the numbers of the wanted frames, straight from what docs/video.md says of each option."""
    if sampling.every_n:
        return list(range(0, len(times), sampling.every_n))
    if sampling.fps:
        periods = [math.floor(seconds * sampling.fps + 1e-4) for seconds in times]
        at = [
            abs(seconds * sampling.fps - round(seconds * sampling.fps)) < 1e-4 for seconds in times
        ]
        numbers = [0]
        for number in range(1, len(times)):
            due = periods[numbers[-1]] + 1
            if periods[number] >= due or (
                at[number] and round(times[number] * sampling.fps) >= due
            ):
                numbers.append(number)
        return numbers
    assert sampling.count
    if sampling.count >= len(times):
        return list(range(len(times)))
    length = (times[-1] - times[0]) * len(times) / (len(times) - 1)
    moments = [times[0] + length * (part + 0.5) / sampling.count for part in range(sampling.count)]
    return sorted(
        {max(n for n, seconds in enumerate(times) if seconds <= at + 1e-6) for at in moments}
    )


def stored_pixels(frame: AnyFrame) -> Pixels:
    if isinstance(frame, Frame):
        return np.asarray(frame.stored.to_ndarray(format="rgb24"), np.uint8)
    return np.asarray(frame.image())


def check(body: bytes, shown: Sequence[tuple[float, Pixels]]) -> None:
    """Assert that each sampling gives the wanted ones of the shown frames."""
    times = [seconds for seconds, _ in shown]
    for sampling in SAMPLINGS:
        clip = open_clip(BytesIO(body), sampling, VideoLimits())
        frames = list(clip)
        clip.close()
        assert [frame.number for frame in frames] == wanted(sampling, times), sampling
        for frame in frames:
            assert frame.seconds == pytest.approx(times[frame.number], abs=0.0011), sampling
            same = np.array_equal(stored_pixels(frame), shown[frame.number][1])
            assert same, f"frame {frame.number} of {sampling} has other pixels"
        assert all(one.seconds <= other.seconds for one, other in pairwise(frames))
        assert (clip.ended, clip.detail) == ("complete", ""), sampling


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="there is no scheduler to ask")
def test_an_encoder_leaves_the_tests_their_priority() -> None:
    before = os.sched_getscheduler(0)
    encoded(Encoding("mp4", "libsvtav1", {"preset": "12"}), frames=2)
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_every_sampling_gives_the_shown_frames(encoding: Encoding) -> None:
    body = encoded(encoding)
    shown = plain(body)
    assert len(shown) == 50
    check(body, shown)


@pytest.mark.parametrize("encoding", UNEVEN_ENCODINGS, ids=str)
def test_uneven_times_are_those_of_the_file(encoding: Encoding) -> None:
    body = encoded(encoding, UNEVEN)
    shown = plain(body)
    assert [seconds for seconds, _ in shown] == pytest.approx(UNEVEN, abs=0.0011)
    check(body, shown)


def remuxed(body: bytes, form: str, seconds: float) -> bytes:
    """Return the same packets, each shown by so much earlier; an MP4 hides what is before its start by an edit list."""
    target = BytesIO()
    options = {"avoid_negative_ts": "disabled"} if form in {"mp4", "mov"} else {}
    with (
        av.open(BytesIO(body), "r") as source,
        av.open(target, "w", format=form, container_options=options) as container,
    ):
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        assert isinstance(copy, VideoStream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= round(seconds / packet.time_base)
            packet.dts -= round(seconds / packet.time_base)
            packet.stream = copy
            container.mux(packet)
    return target.getvalue()


CUT = [
    Encoding("mp4", "libx264", CLOSED), Encoding("mp4", "libx264", {"bf": "0", "g": "12"}),
    Encoding("mp4", "libx265", HEVC), Encoding("mp4", "mpeg4", MPEG), Encoding("mp4", "libvpx-vp9", ALTREF),
]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.9, 3.3])
@pytest.mark.parametrize(
    ("form", "encoding"),
    [
        (form, one)
        for form in ("mp4", "mov")
        for one in CUT
        if (form, one.codec) != ("mov", "libvpx-vp9")
    ],
    ids=str,
)
def test_what_an_edit_list_hides_is_not_counted(
    form: str, encoding: Encoding, seconds: float
) -> None:
    whole = encoded(encoding)
    body = remuxed(whole, form, seconds)
    shown = plain(body)
    assert len(shown) == 50 - round(seconds * RATE)
    assert np.array_equal(shown[0][1], plain(whole)[round(seconds * RATE)][1])
    check(body, shown)


@pytest.mark.parametrize(
    "encoding",
    [*CUT[:4], Encoding("mp4", "libx264", OPEN), Encoding("matroska", "mpeg2video", MPEG)],
    ids=str,
)
@pytest.mark.parametrize("form", ["mp4", "mov", "matroska"])
def test_a_video_that_starts_late_starts_at_its_files_start(form: str, encoding: Encoding) -> None:
    body = remuxed(encoded(encoding), form, -3)
    check(body, plain(body))


@pytest.mark.parametrize(
    ("form", "codec", "options", "first"),
    [
        ("matroska", "libx264", OPEN, 12), ("mp4", "libx264", OPEN, 12),
        ("matroska", "libx264", OPEN, 7), ("matroska", "libx264", REFRESH, 17),
        ("matroska", "libx265", HEVC, 12), ("mp4", "libx265", HEVC, 12),
        ("matroska", "mpeg2video", MPEG, 12), ("matroska", "mpeg4", MPEG, 10),
    ],
    ids=str,
)  # fmt: skip
def test_a_video_that_begins_where_decoding_can_not_begin(
    form: str, codec: str, options: dict[str, str], first: int
) -> None:
    whole = encoded(Encoding("matroska", codec, options))
    target = BytesIO()
    with (
        av.open(BytesIO(whole), "r") as source,
        av.open(target, "w", format=form) as container,
    ):
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if number >= first and packet.size:
                packet.stream = copy
                container.mux(packet)
    shown = plain(target.getvalue())
    assert 10 < len(shown) < 50 - first + 1
    check(target.getvalue(), shown)


@pytest.mark.parametrize("form", ["matroska", "mp4", "avi"])
def test_frames_of_a_few_bytes_before_a_key_frame_are_not_lost(form: str) -> None:
    still = encode_clip(
        [ramp(0)] * 50, form=form, codec="mpeg4", options={"bf": "2", "g": "12"}, rate=RATE
    )  # fmt: skip
    with av.open(BytesIO(still), "r") as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert min(sizes) < 20
    check(still, plain(still))


# The expected values below are those of ffprobe 5.1 (-show_frames), of the AVIs by number.
@pytest.mark.parametrize(
    ("name", "count", "time_of"),
    [
        ("cut.mp4", 67, lambda n: n / 25),
        ("intra-refresh.mp4", 100, lambda n: n / 25),
        ("short-video-long-sound.mp4", 50, lambda n: n / 25),
        ("last-frame-stays.gif", 10, lambda n: n / 10),
        ("last-frame-stays.mp4", 21, lambda n: n / 10),
        ("late-video.mp4", 100, lambda n: 2 + n / 25),
        ("h264-bframes.avi", 100, lambda n: n / 25),
        ("mpeg4-bframes.avi", 100, lambda n: n / 25),
        ("packed-bframes.avi", 37, lambda n: n / 25),
        ("vfr-1000fps-label.webm", 21, lambda n: n / 10),
        ("vp8-altref.webm", 100, lambda n: n / 25),
        ("vp9-alpha.webm", 25, lambda n: n / 25),
        ("mirrored.mp4", 100, lambda n: n / 25),
    ],
)
def test_the_shown_frames_of_a_file(name: str, count: int, time_of: Callable[[int], float]) -> None:
    body = (CASES / name).read_bytes()
    times = [time_of(number) for number in range(count)]
    for sampling in SAMPLINGS:
        clip = open_clip(BytesIO(body), sampling, VideoLimits())
        found = [(frame.number, frame.seconds) for frame in clip]
        clip.close()
        assert [number for number, _ in found] == wanted(sampling, times)
        assert [seconds for _, seconds in found] == pytest.approx(
            [times[number] for number, _ in found], abs=0.001
        )
        assert (clip.ended, clip.detail) == ("complete", "")


def test_a_short_edit_has_its_ten_frames() -> None:
    body = (CASES / "cutshort.mp4").read_bytes()
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    # The cut leaves out 0.36 and 0.4, whose frames come after the end in decoding order: ffprobe shows the same.
    times = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.44]
    assert [frame.seconds for frame in clip] == pytest.approx(times)
