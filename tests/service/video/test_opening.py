"""Which reader opens a file: composed animations are PNG, WebP and GIF, everything else is FFmpeg's."""

import struct
from io import BytesIO

import pytest
from PIL import Image

from service.errors import UnsupportedVideoError
from service.video.allowed import Allowed, VideoFormat
from service.video.animation import Animation
from service.video.opening import open_clip
from service.video.reader import Clip, VideoLimits
from service.video.sampling import Sampling
from tests.clips import counting
from tests.pngs import RGB, SIGNATURE, chunk, header, stream

EVERY = Sampling(every_n=1)


def animated(form: str) -> bytes:
    images = [Image.new("RGB", (64, 48), color) for color in ("red", "lime", "blue")]
    body = BytesIO()
    images[0].save(body, form, save_all=True, append_images=images[1:], duration=100, lossless=True)
    return body.getvalue()


@pytest.mark.parametrize(("form", "container"), [("PNG", "apng"), ("WEBP", "webp"), ("GIF", "gif")])
def test_an_animated_image_is_composed(form: str, container: str) -> None:
    clip = open_clip(BytesIO(animated(form)), EVERY, VideoLimits())
    assert isinstance(clip, Animation)
    assert (clip.info.container, clip.info.width, clip.info.height) == (container, 64, 48)
    corners = [frame.image().getpixel((0, 0)) for frame in clip]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_an_old_gif_is_composed_as_well() -> None:
    body = animated("GIF").replace(b"GIF89a", b"GIF87a", 1)
    assert isinstance(open_clip(BytesIO(body), EVERY, VideoLimits()), Animation)


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")]
)
def test_a_video_is_read_by_ffmpeg(form: str, codec: str) -> None:
    clip = open_clip(BytesIO(counting(12, form, codec)), EVERY, VideoLimits())
    assert isinstance(clip, Clip)
    assert len(list(clip)) == 12


def test_a_source_is_read_from_its_start_wherever_it_stands() -> None:
    for body in (animated("PNG"), animated("WEBP"), animated("GIF"), counting(3)):
        source = BytesIO(body)
        source.seek(100)
        assert len(list(open_clip(source, EVERY, VideoLimits()))) == 3


def still() -> bytes:
    pixels = chunk(b"IDAT", stream([bytes(3 * 8)] * 8))
    return SIGNATURE + header((8, 8), 8, RGB) + pixels + chunk(b"IEND")


STILL_WEBP = b"RIFF\x1a\0\0\0WEBPVP8L" + struct.pack("<I", 13) + b"\x2f" + bytes(12)


@pytest.mark.parametrize(("body", "kind"), [(still(), "a PNG image"), (STILL_WEBP, "a WebP image")])
def test_a_still_image_is_named_so(body: bytes, kind: str) -> None:
    with pytest.raises(UnsupportedVideoError, match=f"are {kind}, not a video"):
        open_clip(BytesIO(body), EVERY, VideoLimits())


@pytest.mark.parametrize(
    ("body", "formats", "refused"),
    [
        (animated("PNG"), ("png",), None),
        (animated("PNG"), ("mp4", "gif"), "animated PNG"),
        (animated("WEBP"), ("webp",), None),
        (animated("WEBP"), ("png",), "animated WebP"),
        (animated("GIF"), ("gif",), None),
        (animated("GIF"), ("webp",), "GIF"),
        (counting(3), ("mp4",), None),
        (counting(3), ("webm", "avi"), "MP4 or MOV"),
    ],
)
def test_a_format_that_is_not_allowed_is_refused_before_its_reader_sees_it(
    body: bytes, formats: tuple[VideoFormat, ...], refused: str | None
) -> None:
    limits = VideoLimits(allowed=Allowed(formats))
    if refused is None:
        assert len(list(open_clip(BytesIO(body), EVERY, limits))) == 3
        return
    with pytest.raises(UnsupportedVideoError, match=f"The file is {refused}, which this service"):
        open_clip(BytesIO(body), EVERY, limits)


def test_a_still_png_is_called_an_image_also_where_animated_ones_are_not_allowed() -> None:
    with pytest.raises(UnsupportedVideoError, match="are a PNG image, not a video"):
        open_clip(BytesIO(still()), EVERY, VideoLimits(allowed=Allowed(("mp4",))))
