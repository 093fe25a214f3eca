from io import BytesIO

import av
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    NoVideoStreamError,
    UnsupportedVideoError,
)
from service.video.container import decoder_of, open_container, shown_times, video_stream
from tests.clips import HEADER_FIRST, bikes, counting, empty, encode_clip, ramp, tone
from tests.images import plain


def opened(body: bytes) -> InputContainer:
    return open_container(BytesIO(body))


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("webm", "libvpx"),
        ("matroska", "libx264"),
        ("avi", "mpeg4"),
        ("gif", "gif"),
    ],
)
def test_a_clip_of_every_kind_opens_with_its_stream(form: str, codec: str) -> None:
    with opened(counting(12, form, codec)) as container:
        stream = video_stream(container)
        assert (stream.width, stream.height) == (64, 48)


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"",
        plain("red"),
        b"#EXTM3U\n#EXTINF:1,\nhttp://localhost/clip.ts\n",
        b"ffconcat version 1.0\nfile clip.mp4\n",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x00" * 64,
    ],
    ids=["text", "nothing", "image", "playlist", "script", "sound", "zeros"],
)
def test_what_is_no_clip_is_named_so(body: bytes) -> None:
    with pytest.raises(UnsupportedVideoError, match="Send MP4"):
        opened(body)


@pytest.mark.parametrize(
    "body",
    [bikes()[:100_000], counting(12, "avi", "mpeg4")[:5000], counting(12, "gif", "gif")[:6]],
    ids=["an MP4 with its header at its end", "AVI", "GIF"],
)
def test_a_clip_with_a_header_that_can_not_be_read_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenVideoError, match="header can not be read"):
        opened(body)


@pytest.mark.parametrize("kind", [b"ftyp", b"mdat", b"free", b"wide", b"skip"])
def test_an_mp4_is_known_by_its_first_box(kind: bytes) -> None:
    with pytest.raises(BrokenVideoError):
        opened(b"\x00\x00\x00\x20" + kind + b"\xff" * 24)


@pytest.mark.parametrize(
    "body", [empty(), counting(12)[:700]], ids=["WebM without frames", "MP4 cut behind its start"]
)
def test_a_clip_that_ends_before_its_first_frame_has_none(body: bytes) -> None:
    with pytest.raises(NoFramesError, match="before its first frame"):
        opened(body)


def test_sound_alone_is_named_so() -> None:
    with (
        opened(tone()) as container,
        pytest.raises(NoVideoStreamError, match="holds audio and no video"),
    ):
        video_stream(container)


def with_cover() -> bytes:
    """Return a clip whose first stream of images is a cover."""
    body = BytesIO()
    with av.open(body, "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        clip = container.add_stream("libx264", rate=10)
        assert isinstance(cover, VideoStream)
        assert isinstance(clip, VideoStream)
        for stream, form in ((cover, "yuvj420p"), (clip, "yuv420p")):
            stream.width, stream.height, stream.pix_fmt = 64, 48, form
        cover.disposition = av.stream.Disposition.attached_pic
        frames = [av.VideoFrame.from_ndarray(ramp(n), format="rgb24") for n in range(4)]
        container.mux(cover.encode(frames[0].reformat(format="yuvj420p")))
        for frame in frames:
            container.mux(clip.encode(frame))
        container.mux(clip.encode(None))
    return body.getvalue()


def test_a_cover_is_no_video_stream() -> None:
    with opened(with_cover()) as container:
        covers = [
            stream
            for stream in container.streams.video
            if stream.disposition & av.stream.Disposition.attached_pic
        ]
        assert len(covers) == 1
        assert video_stream(container).codec_context.name == "h264"


def test_a_decoder_runs_on_one_thread() -> None:
    with opened(counting()) as container:
        assert decoder_of(video_stream(container)).thread_count == 1


def test_the_times_are_those_at_which_frames_are_shown_and_the_clip_starts_anew() -> None:
    times = [0.0, 0.1, 0.35, 1.0, 1.05]
    body = encode_clip(
        map(ramp, range(5)), times=times, options={"bf": "2"}, container_options=HEADER_FIRST
    )
    with opened(body) as container:
        stream = video_stream(container)
        assert shown_times(container, stream) == pytest.approx(times, abs=0.002)
        assert len(list(container.decode(stream))) == 5


@pytest.mark.parametrize(("form", "codec"), [("webm", "libvpx"), ("avi", "mpeg4")])
def test_the_times_of_a_clip_that_is_cut_short_are_those_that_came(form: str, codec: str) -> None:
    body = counting(60, form, codec)
    with opened(body[: len(body) * 7 // 10]) as container:
        times = shown_times(container, video_stream(container))
    assert 10 < len(times) < 60
    assert times == pytest.approx([number / 10 for number in range(len(times))], abs=0.001)


@pytest.mark.parametrize(("form", "codec"), [("matroska", "libx264"), ("mp4", "libx264")])
def test_a_clip_that_is_cut_before_its_first_frame_has_no_times(form: str, codec: str) -> None:
    body = counting(60, form, codec)
    with opened(body[: len(body) * 3 // 10]) as container:
        assert shown_times(container, video_stream(container)) == []
