"""A stream that asks for more memory in its middle than its header says is refused where memory counts."""

from io import BytesIO

import av
import numpy as np
import pytest

from service.errors import TooManyPixelsError
from service.video.guard import bytes_of_pixel
from service.video.kept import kept_of
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import encode_clip, number_of, ramp
from tests.service.video.test_looks import tracks

EVERY = Sampling(every_n=1)


def packets(told: str, pixel_format: str = "yuv420p", count: int = 10) -> list[bytes]:
    """Return packets of H.264, each key frame with its header."""
    body = encode_clip(
        map(ramp, range(count)),
        form="h264",
        pixel_format=pixel_format,
        options={"x264-params": f"keyint=5:{told}"},
    )
    with av.open(BytesIO(body), "r", format="h264") as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def read(body: bytes, *, counts: bool) -> int:
    clip = open_clip(BytesIO(body), EVERY, VideoLimits())
    if counts:
        clip.allow(clip.pixels)
    try:
        return len(list(clip))
    finally:
        clip.close()


@pytest.mark.parametrize(
    ("told", "pixel_format"),
    [
        ("ref=16:bframes=0", "yuv420p"),
        ("ref=1:bframes=0", "yuv444p"),
        ("ref=1:bframes=0", "yuv420p10le"),
    ],
    ids=["more references", "more samples", "more bits"],
)
def test_a_heavier_header_in_the_middle_is_refused(told: str, pixel_format: str) -> None:
    light = packets("ref=1:bframes=0")
    body = tracks(light + packets(told, pixel_format), "libx264", (64, 48), form="avi")
    assert read(tracks(light + light, "libx264", (64, 48), form="avi"), counts=True) == 20
    assert read(body, counts=False) == 20
    with pytest.raises(TooManyPixelsError, match="more memory than its header says"):
        read(body, counts=True)


def test_a_lighter_header_in_the_middle_is_read() -> None:
    heavy = packets("ref=16:bframes=0", "yuv444p")
    body = tracks(heavy + packets("ref=1:bframes=0"), "libx264", (64, 48), form="avi")
    assert read(body, counts=True) == 20


def without_order(body: bytes) -> bytes:
    """Return an MP4 of H.264 whose header no longer says how many frames are reordered."""
    with av.open(BytesIO(body), "r") as container:
        extradata = container.streams.video[0].codec_context.extradata or b""
    size = int.from_bytes(extradata[6:8], "big")
    whole = extradata[8 : 8 + size]
    bits = "".join(f"{byte:08b}" for byte in whole)
    for end in range(60, len(bits)):
        cut = (bits[:end] + "01").ljust(len(bits), "0")[: len(bits)]
        header = bytes(int(cut[at : at + 8], 2) for at in range(0, len(cut), 8))
        found = kept_of("h264", extradata[:8] + header + extradata[8 + size :])
        assert found is not None
        if not found.says_order and found.pixel_bytes == 1.5:
            return body.replace(whole, header)
    raise AssertionError("its header does not end")


def test_frames_of_h264_come_in_order_where_only_they_say_it() -> None:
    body = encode_clip(
        map(ramp, range(60)),
        options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:keyint=30"},
    )
    changed = without_order(body)
    assert changed != body
    for counts in (False, True):
        clip = open_clip(BytesIO(changed), EVERY, VideoLimits())
        assert clip.kept is not None
        assert not clip.kept.says_order
        if counts:
            clip.allow(clip.pixels)
        assert [number_of(frame.image()) for frame in clip] == pytest.approx(range(60), abs=1)
        clip.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gray", 1), ("yuv420p", 1.5), ("nv12", 1.5), ("yuv422p", 2), ("yuv444p", 3), ("rgb24", 3), ("bgr0", 4),
        ("yuv420p10le", 3), ("p010le", 3), ("yuv444p12le", 6), ("yuva444p16le", 8), ("rgba64be", 8), ("gbrapf32le", 16),
    ],
)  # fmt: skip
def test_a_pixel_takes_what_its_format_says(name: str, expected: float) -> None:
    assert bytes_of_pixel(name) == expected
    frame = av.VideoFrame(64, 64, name)
    assert sum(plane.buffer_size for plane in frame.planes) >= np.floor(expected * 64 * 64)
