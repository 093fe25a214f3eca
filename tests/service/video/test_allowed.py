"""Formats and codecs of videos that an operator does not want are refused; no reader or decoder of theirs is tried."""

from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image

from service.errors import ConfigurationError, UnsupportedVideoError
from service.video.allowed import ALL, NAMES, Allowed, VideoFormat, allowed_of
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import counting
from tests.images import plain


def animated(form: str) -> bytes:
    body = BytesIO()
    frames = [Image.new("RGB", (16, 12), color) for color in ("red", "green", "blue")]
    frames[0].save(body, form, save_all=True, append_images=frames[1:], duration=100)
    return body.getvalue()


VIDEOS: dict[str, tuple[VideoFormat, bytes]] = {
    "MP4": ("mp4", counting(3)),
    "MOV": ("mp4", counting(3, "mov")),
    "WebM": ("webm", counting(3, "webm", "libvpx")),
    "Matroska": ("webm", counting(3, "matroska")),
    "AVI": ("avi", counting(3, "avi", "mpeg4")),
    "GIF": ("gif", animated("GIF")),
    "APNG": ("png", animated("PNG")),
    "WebP": ("webp", animated("WEBP")),
    "AVIF": ("mp4", animated("AVIF")),
}


def frames(body: bytes, allowed: Allowed, sampling: Sampling = Sampling(every_n=1)) -> int:  # noqa: B008  # frozen
    clip = open_clip(BytesIO(body), sampling, VideoLimits(allowed=allowed))
    try:
        return len(list(clip))
    finally:
        clip.close()


@pytest.mark.parametrize("name", VIDEOS)
def test_a_format_alone_on_the_list_is_read_and_is_refused_where_it_is_not(name: str) -> None:
    form, body = VIDEOS[name]
    assert frames(body, ALL) == 3
    assert frames(body, allowed_of([form], [])) == 3
    others = [one for one in NAMES if one != form]
    with pytest.raises(UnsupportedVideoError, match=r"which this service does not read\. Send "):
        frames(body, allowed_of(others, []))


def test_an_empty_list_allows_all_and_names_them() -> None:
    assert allowed_of([], []) == ALL
    assert str(ALL) == "MP4, MOV, WebM, Matroska, AVI, GIF, animated PNG or animated WebP"
    assert str(allowed_of(["gif"], [])) == "GIF"


@pytest.mark.parametrize("formats", [["gif"], ["gif", "png", "webp"], ["mp4"]])
@pytest.mark.parametrize(
    "body",
    [
        plain("red"),
        b"hello",
        b"#EXTM3U\n#EXTINF:1,\nx.ts\n",
        b"ffconcat version 1.0\nfile x\n",
        b"ID3" + bytes(40),
    ],
    ids=["image", "text", "playlist", "script", "sound"],
)
def test_what_is_never_read_is_answered_with_what_is_allowed(
    body: bytes, formats: Sequence[VideoFormat]
) -> None:
    allowed = allowed_of(formats, [])
    with pytest.raises(UnsupportedVideoError) as raised:
        frames(body, allowed)
    assert f"Send {allowed}" in str(raised.value)


CODECS = {
    "h264": counting(3),
    "vp8": counting(3, "webm", "libvpx"),
    "vp9": counting(3, "webm", "libvpx-vp9"),
    "mpeg4": counting(3, "avi", "mpeg4"),
    "av1": animated("AVIF"),
    "mjpeg": counting(3, "avi", "mjpeg"),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("sampling", [Sampling(every_n=1), Sampling(count=3)], ids=["all", "count"])
def test_a_codec_alone_on_the_list_is_decoded_and_each_other_one_refused(
    codec: str, sampling: Sampling
) -> None:
    assert frames(CODECS[codec], allowed_of([], [codec]), sampling) == 3
    others = [one for one in CODECS if one != codec]
    with pytest.raises(UnsupportedVideoError, match=f"codec is {codec}, which .* Encode it as "):
        frames(CODECS[codec], allowed_of([], others), sampling)


def test_a_codec_that_ffmpeg_does_not_have_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_VIDEO_CODECS names 'h265'"):
        allowed_of([], ["h264", "h265"])
    assert allowed_of([], ["H264", "h264"]).codecs == ("h264",)
