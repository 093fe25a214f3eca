"""The images and videos of a soak, made once from scikit-image's photographs."""

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from benchmarks.images import IMAGES

BOUNDARY = "soak-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
VIDEO_SIZE = (320, 240)
VIDEO_FPS = 25
VIDEO_FRAMES = 75


@dataclass(frozen=True, slots=True)
class Bodies:
    """Encoded images and videos, and bodies that hold several images."""

    photograph: bytes
    """640×480 JPEG."""
    camera: bytes
    """4000×3000 JPEG."""
    png: bytes
    """1024×1024 PNG."""
    digit: bytes
    """28×28 gray PNG."""
    webp: bytes
    form: bytes
    """Four files; the content type is `FORM`."""
    json: bytes
    """Two images in base64."""
    mp4: bytes
    """Three seconds of 320×240 at 25 frames per second, H.264."""
    gif: bytes
    """Twelve frames of 160×120."""

    @property
    def images(self) -> Sequence[bytes]:
        return (self.photograph, self.png, self.digit, self.webp)


def make_bodies() -> Bodies:
    made = {name: make() for name, make in IMAGES.items()}
    photograph, digit = made["640×480 JPEG"], made["28² PNG"]
    frames = _frames(photograph)
    return Bodies(
        photograph=photograph,
        camera=made["4000×3000 JPEG"],
        png=made["1024² PNG"],
        digit=digit,
        webp=_encoded(frames[:1], "WEBP"),
        form=form_of([photograph, digit, photograph, made["1024² PNG"]]),
        json=json.dumps(
            {"images": [base64.b64encode(one).decode() for one in (photograph, digit)]}
        ).encode(),
        mp4=_mp4(frames),
        gif=_encoded([one.resize((160, 120)) for one in frames[:12]], "GIF"),
    )


def form_of(files: Sequence[bytes]) -> bytes:
    """Return a multipart form with these files; its content type is `FORM`."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\n%s\r\n'
        % (BOUNDARY.encode(), number, file)
        for number, file in enumerate(files)
    ]
    return b"".join([*parts, b"--%s--\r\n" % BOUNDARY.encode()])


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Return a body with some bits flipped, or its end cut off."""
    data = bytearray(body)
    if chance.random() < 0.3:
        return bytes(data[: chance.randrange(1, len(data))])
    for _ in range(chance.choice((1, 4, 16))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _frames(photograph: bytes) -> list[Image.Image]:
    """Return frames of a window that moves over a photograph."""
    width, height = VIDEO_SIZE
    with Image.open(BytesIO(photograph)) as image:
        rgb = image.convert("RGB")
    return [rgb.crop((at, at, at + width, at + height)) for at in range(VIDEO_FRAMES)]


def _encoded(frames: Sequence[Image.Image], form: str) -> bytes:
    stream = BytesIO()
    more = {"save_all": True, "append_images": frames[1:], "duration": 100} if frames[1:] else {}
    frames[0].save(stream, form, **more)
    return stream.getvalue()


def _mp4(frames: Sequence[Image.Image]) -> bytes:
    stream = BytesIO()
    with av.open(stream, "w", format="mp4", options={"moov_size": "20000"}) as container:
        video = container.add_stream("libx264", rate=Fraction(VIDEO_FPS))
        assert isinstance(video, VideoStream)
        video.width, video.height = VIDEO_SIZE
        video.pix_fmt = "yuv420p"
        for frame in frames:
            pixels = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")
            container.mux(video.encode(pixels))
        container.mux(video.encode(None))
    return stream.getvalue()
