"""Which frames a video gives, with which times and pixels, for every kind of file, and what a bad file gives."""

from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    NoVideoStreamError,
    TooManyFramesError,
    TooManyPixelsError,
    UnsupportedVideoError,
    VideoError,
    VideoTooLongError,
)
from service.video.opening import AnyClip, AnyFrame, open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import (
    HEADER_FIRST,
    bikes,
    counting,
    empty,
    encode_clip,
    number_of,
    ramp,
    stored_frames,
    tone,
)

KINDS = [
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("mp4", "libx265"),
    ("mp4", "mpeg4"),
    ("webm", "libvpx"),
    ("webm", "libvpx-vp9"),
    ("matroska", "libx264"),
    ("avi", "mpeg4"),
    ("avi", "mjpeg"),
    ("gif", "gif"),
]


def watch(
    body: bytes, sampling: Sampling, limits: VideoLimits | None = None
) -> tuple[AnyClip, list[AnyFrame]]:
    clip = open_clip(BytesIO(body), sampling, limits or VideoLimits())
    frames = list(clip)
    clip.close()
    return clip, frames


def opened(body: bytes, limits: VideoLimits | None = None) -> AnyClip:
    return open_clip(BytesIO(body), Sampling(fps=2), limits or VideoLimits())


@pytest.mark.parametrize(("form", "codec"), KINDS)
def test_two_frames_per_second_of_ten_are_every_fifth(form: str, codec: str) -> None:
    clip, frames = watch(counting(60, form, codec), Sampling(fps=2))
    assert [frame.number for frame in frames] == list(range(0, 60, 5))
    assert [frame.seconds for frame in frames] == pytest.approx(
        [n / 2 for n in range(12)], abs=0.02
    )
    found = [number_of(frame.image()) for frame in frames]
    assert found == pytest.approx(list(range(0, 60, 5)), abs=1)
    assert (clip.ended, clip.detail) == ("complete", "")


@pytest.mark.parametrize(("form", "codec"), KINDS)
def test_a_frame_is_the_same_whether_its_neighbors_were_decoded_or_not(
    form: str, codec: str
) -> None:
    body = counting(60, form, codec)
    plain = stored_frames(body)
    for sampling in (Sampling(every_n=7), Sampling(count=4), Sampling(fps=3)):
        for frame in watch(body, sampling)[1]:
            assert np.array_equal(np.asarray(frame.image()), plain[frame.number][1])


@pytest.mark.parametrize(
    "options",
    [
        {"g": "12", "bf": "3", "x264-params": "open-gop=1"},
        {"g": "10", "bf": "2", "b-pyramid": "normal"},
        {"g": "1000", "bf": "0"},
        {"g": "1"},
    ],
    ids=["open groups", "pyramid", "one group", "key frames only"],
)
def test_frames_between_key_frames_of_every_kind_are_exact(options: dict[str, str]) -> None:
    body = encode_clip(map(ramp, range(60)), options=options)
    plain = stored_frames(body)
    clip, frames = watch(body, Sampling(every_n=9))
    assert [frame.number for frame in frames] == list(range(0, 60, 9))
    for frame in frames:
        assert np.array_equal(np.asarray(frame.image()), plain[frame.number][1])
    assert clip.counts.decoded + clip.counts.skipped == 60


def test_a_real_video_is_sampled_exactly_and_decoded_in_part() -> None:
    plain = stored_frames(bikes())
    clip, frames = watch(bikes(), Sampling(count=5))
    assert [frame.number for frame in frames] == [25, 75, 125, 175, 225]
    for frame in frames:
        assert np.array_equal(np.asarray(frame.image()), plain[frame.number][1])
    assert clip.counts.sampled == 5
    assert clip.counts.decoded < 150
    assert clip.counts.decoded + clip.counts.skipped == 250
    assert (clip.info.width, clip.info.height, clip.info.codec) == (640, 272, "h264")
    assert (clip.info.fps, clip.info.seconds, clip.info.expected) == (25.0, 10.0, 5)


def test_groups_without_a_wanted_frame_are_not_decoded() -> None:
    body = encode_clip(map(ramp, range(100)), options={"g": "5"})
    clip, frames = watch(body, Sampling(every_n=50))
    assert [frame.number for frame in frames] == [0, 50]
    assert clip.counts.decoded <= 4
    assert clip.counts.skipped >= 96


@pytest.mark.parametrize("wanted", [1, 3, 7, 60, 100])
def test_a_count_of_frames_is_spread_evenly_over_the_video(wanted: int) -> None:
    clip, frames = watch(counting(60), Sampling(count=wanted))
    numbers = np.array([frame.number for frame in frames])
    assert len(numbers) == min(wanted, 60) == clip.info.expected
    assert abs(numbers.mean() - 29.5) <= 0.6
    assert len(set(np.diff(numbers))) <= 2


def test_frames_at_uneven_times_are_sampled_by_time() -> None:
    times = [0.0, 0.1, 0.15, 0.9, 1.0, 3.2, 3.3, 9.0]
    body = encode_clip(map(ramp, range(8)), times=times, options={"bf": "0"})
    _, frames = watch(body, Sampling(fps=1))
    assert [round(frame.seconds, 2) for frame in frames] == [0.0, 1.0, 3.2, 9.0]
    assert [frame.number for frame in frames] == [0, 4, 5, 7]


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, "lower left"), (-90, "upper right"), (180, "lower right")]
)
def test_a_rotated_video_is_read_upright(rotation: int, corner: str) -> None:
    clip, frames = watch(encode_clip(map(ramp, range(3)), rotation=rotation), Sampling(fps=10))
    image = np.asarray(frames[0].image())
    assert image.shape[:2] == ((64, 48) if rotation % 180 else (48, 64))
    assert (clip.info.height, clip.info.width) == image.shape[:2]
    assert clip.info.rotation == rotation % 360
    row, column = corner.split()
    y, x = {"upper": 3, "lower": -4}[row], {"left": 3, "right": -4}[column]
    assert image[y, x, 0] > 200
    assert image[y, x, 1] < 60


def test_pixels_that_are_not_square_become_square() -> None:
    clip, frames = watch(encode_clip(map(ramp, range(3)), aspect=Fraction(3, 2)), Sampling(fps=10))
    assert frames[0].image().size == (96, 48) == (clip.info.width, clip.info.height)


def test_a_video_cut_short_gives_the_frames_it_has_and_says_so() -> None:
    body = encode_clip(map(noisy, range(60)), options={"g": "10"}, container_options=HEADER_FIRST)
    clip, frames = watch(body[: len(body) // 2], Sampling(fps=10))
    assert 20 < len(frames) < 40
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert clip.ended == "truncated"
    assert "60" in clip.detail


@pytest.mark.parametrize(("form", "codec"), [("webm", "libvpx"), ("avi", "mjpeg"), ("gif", "gif")])
def test_other_containers_cut_short_say_so_too(form: str, codec: str) -> None:
    body = counting(60, form, codec)
    clip, frames = watch(body[: len(body) * 2 // 3], Sampling(fps=10))
    assert 10 < len(frames) < 60
    assert clip.ended == "truncated"


def test_a_video_whose_header_is_at_its_missing_end_is_broken() -> None:
    with pytest.raises(BrokenVideoError, match="faststart"):
        opened(bikes()[:200_000])


def test_frames_around_damage_are_still_read() -> None:
    body = bytearray(encode_clip(map(noisy, range(60)), options={"g": "10"}))
    middle = len(body) // 2
    body[middle : middle + 300] = bytes(300)
    _, frames = watch(bytes(body), Sampling(fps=10))
    assert len(frames) > 40


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"hello", UnsupportedVideoError),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), UnsupportedVideoError),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", UnsupportedVideoError),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", UnsupportedVideoError),
        (b"\x1aE\xdf\xa3" + bytes(100), BrokenVideoError),
        (b"GIF89a", BrokenVideoError),
        (tone(), NoVideoStreamError),
    ],
    ids=["text", "image", "playlist", "script", "matroska", "gif", "sound"],
)
def test_a_file_that_is_no_video_is_refused(body: bytes, error: type[VideoError]) -> None:
    with pytest.raises(error):
        watch(body, Sampling(fps=2))


def test_a_codec_without_a_decoder_is_refused() -> None:
    body = counting(10, "avi", "mjpeg").replace(b"MJPG", b"XYZ1")
    with pytest.raises(UnsupportedVideoError, match="codec"):
        watch(body, Sampling(fps=2))


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(NoFramesError):
        watch(empty(), Sampling(fps=2))


def test_an_mp4_that_lost_the_end_of_its_header_is_cut_short() -> None:
    body = encode_clip(map(ramp, range(30)))
    start = body.index(b"moov")
    messages = []
    for cut in range(start + 40, len(body) - 1, 61):
        try:
            clip, frames = watch(body[:cut], Sampling(every_n=1))
        except VideoError as error:
            messages.append(str(error))
        else:
            assert frames, "it is refused or has frames"
            assert clip.ended == "truncated"
    assert messages
    assert all("cut short" in message for message in messages)


def test_ten_hours_in_a_few_bytes_are_refused_by_the_header() -> None:
    body = encode_clip(map(ramp, range(2)), times=[0.0, 36_000.0])
    with pytest.raises(VideoTooLongError, match="36000"):
        opened(body)


def test_ten_hours_that_no_header_declares_end_at_the_limit() -> None:
    live = {"live": "1"}
    body = encode_clip(
        map(ramp, range(4)), form="webm", codec="libvpx", times=[0.0, 1.0, 2.0, 36_000.0],
        container_options=live,
    )  # fmt: skip
    clip, frames = watch(body, Sampling(fps=1))
    assert [round(frame.seconds) for frame in frames] == [0, 1, 2]
    assert clip.ended == "limit"


def test_more_frames_than_allowed_are_refused_with_what_to_request() -> None:
    with pytest.raises(TooManyFramesError, match="max_frames"):
        opened(counting(60), VideoLimits(max_frames=5))


def test_frames_that_are_too_large_are_refused() -> None:
    with pytest.raises(TooManyPixelsError, match="64×48"):
        opened(counting(60), VideoLimits(max_pixels=1000))


def test_a_stopped_video_ends_without_an_error() -> None:
    clip = open_clip(BytesIO(counting(60)), Sampling(fps=10), VideoLimits())
    frames = iter(clip)
    next(frames)
    clip.stop()
    assert len(list(frames)) < 60


def noisy(number: int) -> np.ndarray:
    """Frames that do not compress, so that a file's half holds half of them."""
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3))
    return noise.astype(np.uint8)


@pytest.mark.parametrize("sampling", [Sampling(count=5), Sampling(fps=2)], ids=["count", "fps"])
@pytest.mark.parametrize("form", ["matroska", "mp4"])
def test_a_clip_that_is_cut_before_its_first_frame_has_none(form: str, sampling: Sampling) -> None:
    body = counting(60, form)
    with pytest.raises(NoFramesError):
        watch(body[: len(body) * 3 // 10], sampling)
