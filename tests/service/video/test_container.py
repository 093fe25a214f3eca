from io import BytesIO
from pathlib import Path

import av
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    NoVideoStreamError,
    UnsupportedVideoError,
)
from service.video.container import decoder_of, open_container, open_video, video_stream
from tests.clips import bikes, counting, empty, encode_clip, ramp, tone
from tests.images import plain

CASES = Path(__file__).parents[2] / "data/cases"


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
    [bikes()[:100_000], counting(12, "avi", "mpeg4")[:5000]],
    ids=["an MP4 with its header at its end", "AVI"],
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
        pytest.raises(NoVideoStreamError, match="holds audio, and no video"),
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


def image_file(form: str) -> bytes:
    body = BytesIO()
    Image.new("RGB", (64, 48), "red").save(body, form)
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (image_file("PNG"), "a PNG image"),
        (image_file("JPEG"), "a JPEG image"),
        (image_file("WEBP"), "a WebP image"),
        (image_file("BMP"), "a BMP image"),
        (image_file("TIFF"), "a TIFF image"),
        (image_file("AVIF"), "an AVIF image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
    ],
    ids=["PNG", "JPEG", "WebP", "BMP", "TIFF", "AVIF", "HEIC"],
)
def test_an_image_is_named_with_the_route_for_images(body: bytes, what: str) -> None:
    with pytest.raises(UnsupportedVideoError, match=f"are {what}, not a video.*/v1/classify"):
        opened(body)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "a WAV sound file"),
        (b"ID3\x04" + bytes(40), "an MP3 sound file"),
        (b"OggS" + bytes(40), "an Ogg file"),
        (b"FLV\x01\x05" + bytes(40), "an FLV video"),
        ((b"G" + bytes(187)) * 3, "an MPEG transport stream"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip data"),
        (b"MPEG" + bytes(40), "no video that is understood"),
    ],
    ids=["WAV", "MP3", "Ogg", "FLV", "TS", "gzip", "unknown"],
)
def test_a_file_of_another_kind_is_named(body: bytes, what: str) -> None:
    with pytest.raises(UnsupportedVideoError, match=f"are {what}.*Send MP4"):
        opened(body)


@pytest.mark.parametrize("size", [8, 12, 30, 200, 700])
def test_half_a_header_of_an_mp4_is_a_damaged_file(size: int) -> None:
    with pytest.raises(BrokenVideoError, match=r"damaged or cut short.*faststart"):
        opened(bikes()[:size])


@pytest.mark.parametrize("size", [0, 1, 7])
def test_fewer_bytes_than_a_header_are_counted(size: int) -> None:
    with pytest.raises(UnsupportedVideoError, match=f"{size} of at least 12 bytes"):
        opened(bikes()[:size])


@pytest.mark.parametrize("size", [60, 200])
def test_a_header_without_streams_is_a_damaged_file(size: int) -> None:
    body = encode_clip(
        map(ramp, range(4)), container_options={"movflags": "empty_moov+frag_keyframe"}
    )
    with pytest.raises(BrokenVideoError, match="names no video and no sound"):
        open_video(BytesIO(body[:size]))


def test_sound_with_a_cover_image_is_no_video() -> None:
    body = (CASES / "sleeve.m4a").read_bytes()
    with pytest.raises(NoVideoStreamError, match="holds a cover image and audio, and no video"):
        open_video(BytesIO(body))


def test_the_sequence_of_an_avif_is_the_video_and_not_its_still_image() -> None:
    images = [Image.new("RGB", (64, 48), color) for color in ("red", "lime", "blue")]
    body = BytesIO()
    images[0].save(body, "AVIF", save_all=True, append_images=images[1:], duration=200)
    assert open_video(body).stream.frames == 3
