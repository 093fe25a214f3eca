"""The playground's sample video: a cup that moves over bricks in some of the ways that `motion` tells apart.

`python -m exporter.training.sample_video FOLDER` writes `motion.webm` and the image that stands for it, `motion.webp`.
Both photographs come with scikit-image. The cup is cut out of "Espresso" along outlines that were measured on it.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from skimage import data

Pixels = NDArray[np.uint8]

SIZE = (480, 320)
"""Width and height of the video, in pixels."""
FPS = 24
"""A multiple of what the card of `motion` samples, so that sampled frames are evenly spaced."""
POSTER_SIZE = (216, 144)
POSTER_SECONDS = 4.5
"""Its moment: the cup is large, and in the middle."""

_SAUCER = (278.0, 223.0, 203.0, 162.0, 20.0)
_RIM = (292.0, 112.0, 118.0, 92.0, 18.0)
"""Ellipses in the photograph's pixels: center x and y, half axes, and clockwise angle of the first axis in degrees."""
_SPOON = ((395, 78), (402, 69), (412, 66), (421, 69), (424, 77), (420, 92), (411, 112), (395, 130))
"""The end of the spoon, which sticks out beyond both."""
_CUP_BOX = (72, 16, 482, 396)
"""Left, top, right and bottom of the cup with its saucer, in the photograph's pixels."""
_FINER = 4
"""Outlines are drawn so many times larger, and reduced: their edges get soft."""

_SHADOW = 0.55
_SHADOW_SHIFT = (0.03, 0.05)
_SHADOW_BLUR = 0.03
"""Opacity of the cup's shadow; its shift and its blur as shares of the cup's width."""


class Place(NamedTuple):
    """Where the cup is: center x and y and its width as shares of the frame's sides, and clockwise angle in degrees."""

    x: float
    y: float
    width: float
    angle: float


COURSE: tuple[tuple[float, str, Place], ...] = (
    (0.0, "", Place(0.26, 0.5, 0.24, 0.0)),
    (3.0, "growing", Place(0.26, 0.5, 0.48, 0.0)),
    (6.0, "right", Place(0.74, 0.5, 0.48, 0.0)),
    (8.5, "clockwise", Place(0.74, 0.5, 0.48, 360.0)),
    (11.5, "left", Place(0.26, 0.5, 0.48, 360.0)),
)
"""Seconds, the way that the cup has moved in until then, and where it is; between two of them it moves evenly."""

SECONDS = COURSE[-1][0]


def place_at(seconds: float) -> Place:
    """Return where the cup is at a moment, 0 to `SECONDS`."""
    times = [time for time, _, _ in COURSE]
    parts = zip(*(place for _, _, place in COURSE), strict=True)
    return Place(*(float(np.interp(seconds, times, part)) for part in parts))


def frames() -> Iterator[Pixels]:
    """Yield the frames, uint8 (height, width, 3) RGB."""
    ground, cup = _bricks(), _cup()
    for number in range(round(SECONDS * FPS)):
        yield np.asarray(_composed(ground, cup, place_at(number / FPS)))


def poster() -> Image.Image:
    """Return the image that stands for the video: one of its frames, smaller."""
    frame = _composed(_bricks(), _cup(), place_at(POSTER_SECONDS))
    return frame.resize(POSTER_SIZE, Image.Resampling.LANCZOS)


def encode(images: Iterator[Pixels]) -> bytes:
    """Return a WebM of frames in VP9, which all browsers play and whose encoder is under no restrictive license."""
    body = BytesIO()
    with av.open(body, "w", format="webm", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 0
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1  # more threads may encode otherwise
        stream.options = {"crf": "36", "deadline": "good", "cpu-used": "1", "g": str(4 * FPS)}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return body.getvalue()


def _bricks() -> Image.Image:
    photograph = _photograph("brick")
    height = photograph.width * SIZE[1] // SIZE[0]
    part = photograph.crop((0, photograph.height - height, photograph.width, photograph.height))
    return part.resize(SIZE, Image.Resampling.LANCZOS)


def _cup() -> Image.Image:
    """Return the cup with its saucer, RGBA; what is beside them is transparent."""
    photograph = _photograph("coffee")
    outline = Image.new("L", (_FINER * photograph.width, _FINER * photograph.height))
    pencil = ImageDraw.Draw(outline)
    for corners in (_ellipse(*_SAUCER), _ellipse(*_RIM), _SPOON):
        pencil.polygon([(_FINER * x, _FINER * y) for x, y in corners], fill=255)
    photograph.putalpha(outline.resize(photograph.size, Image.Resampling.BOX))
    return photograph.crop(_CUP_BOX)


def _photograph(name: str) -> Image.Image:
    pixels: Pixels = getattr(data, name)()
    return Image.fromarray(pixels).convert("RGB")


def _ellipse(
    x: float, y: float, along: float, across: float, angle: float
) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    axis, other = along * np.cos(turns), across * np.sin(turns)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return list(
        zip(
            (x + cos * axis - sin * other).tolist(),
            (y + sin * axis + cos * other).tolist(),
            strict=True,
        )
    )


def _composed(ground: Image.Image, cup: Image.Image, place: Place) -> Image.Image:
    """Return the cup on the ground, with its shadow."""
    width = place.width * SIZE[0]
    drawn = _placed(cup, place)
    shape = drawn.getchannel("A")
    shift = tuple(round(share * width) for share in _SHADOW_SHIFT)
    shadow = ImageChops.offset(shape, *shift).filter(ImageFilter.GaussianBlur(_SHADOW_BLUR * width))
    image = ground.copy()
    image.paste((0, 0, 0), mask=shadow.point(lambda value: value * _SHADOW))
    image.paste(drawn, mask=shape)
    return image


def _placed(cup: Image.Image, place: Place) -> Image.Image:
    """Return the cup at its place on a transparent image of the video's size."""
    width = round(place.width * SIZE[0])
    small = cup.resize((width, round(width * cup.height / cup.width)), Image.Resampling.LANCZOS)
    cos, sin = np.cos(np.deg2rad(place.angle)), np.sin(np.deg2rad(place.angle))
    x, y = place.x * SIZE[0], place.y * SIZE[1]
    onto_cup = (
        *(cos, sin, small.width / 2 - cos * x - sin * y),
        *(-sin, cos, small.height / 2 + sin * x - cos * y),
    )
    return small.transform(SIZE, Image.Transform.AFFINE, onto_cup, Image.Resampling.BICUBIC)


def main(folder: Path) -> None:
    """Write the video and its image into a folder."""
    (folder / "motion.webm").write_bytes(encode(frames()))
    poster().save(folder / "motion.webp", quality=80, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
