"""Animated PNGs as videos: composed as the PNG specification says, over white, and shown at their times."""

import struct
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import TooManyPixelsError, UnsupportedVideoError, VideoError
from service.video.reader import Clip, VideoLimits
from service.video.sampling import Sampling
from tests.pngs import RGB_ALPHA, SIGNATURE, chunk, header, stream

WIDTH, HEIGHT = 24, 16
Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A frame of the file: pixels (h, w, 4) at a place, how long it stays in 1/100 s, and the two operations."""

    pixels: NDArray[np.uint8]
    left: int
    top: int
    delay: int
    dispose: int
    blend: int


def parts(dispose: int, blend: int, seed: int) -> list[Part]:
    """Return a whole frame, then smaller ones anywhere, of every opacity."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(6):
        width, height = (WIDTH, HEIGHT) if not number else rng.integers(4, 12, 2)
        left, top = (0, 0) if not number else rng.integers(0, 5, 2)
        pixels = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        pixels[: height // 3, :, 3] = 0
        pixels[-(height // 3) :, :, 3] = 255
        found.append(Part(pixels, int(left), int(top), 10 * (number + 1), dispose, blend))
    return found


def encoded(frames: list[Part], *, hidden: bool = False) -> bytes:
    """Return the file; `hidden`: with a default image that is no frame of it."""
    number = 0
    body = SIGNATURE + header((WIDTH, HEIGHT), 8, RGB_ALPHA)
    body += chunk(b"acTL", struct.pack(">II", len(frames), 0))
    if hidden:
        body += chunk(b"IDAT", stream([bytes(4 * WIDTH)] * HEIGHT))
    for place, one in enumerate(frames):
        height, width = one.pixels.shape[:2]
        control = struct.pack(
            ">IIIIIHHBB", number, width, height, one.left, one.top, one.delay, 100, one.dispose, one.blend
        )  # fmt: skip
        body += chunk(b"fcTL", control)
        number += 1
        data = stream([row.tobytes() for row in one.pixels])
        if place or hidden:
            body += chunk(b"fdAT", struct.pack(">I", number) + data)
            number += 1
        else:
            body += chunk(b"IDAT", data)
    return body + chunk(b"IEND")


def over(above: Floats, below: Floats) -> Floats:
    """Return one image over another, both (h, w, 4) of 0–1 and not premultiplied: PNG, section 13.16."""
    alpha, beneath = above[..., 3:], below[..., 3:] * (1 - above[..., 3:])
    total = alpha + beneath
    color = (above[..., :3] * alpha + below[..., :3] * beneath) / np.maximum(total, 1e-9)
    return np.concatenate([color, total], axis=2)


def composed(frames: list[Part]) -> list[Floats]:
    """Return what each frame shows over white, (h, w, 3) of 0–255: PNG, third edition, section 11.3.6.2."""
    canvas = np.zeros((HEIGHT, WIDTH, 4))
    white = np.ones((HEIGHT, WIDTH, 4))
    shown = []
    for number, one in enumerate(frames):
        height, width = one.pixels.shape[:2]
        area = np.s_[one.top : one.top + height, one.left : one.left + width]
        before = canvas.copy()
        pixels = one.pixels / 255
        canvas[area] = over(pixels, canvas[area]) if one.blend else pixels
        shown.append(over(canvas, white)[..., :3] * 255)
        if one.dispose == 1 or (one.dispose == 2 and not number):
            canvas[area] = 0
        elif one.dispose == 2:
            canvas = before
    return shown


@pytest.mark.parametrize("hidden", [False, True], ids=["", "hidden default image"])
@pytest.mark.parametrize("blend", [0, 1], ids=["source", "over"])
@pytest.mark.parametrize("dispose", [0, 1, 2], ids=["none", "background", "previous"])
def test_frames_are_composed_as_the_specification_says(
    dispose: int,
    blend: int,
    hidden: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    frames = parts(dispose, blend, seed=dispose)
    shown = composed(frames)
    body = encoded(frames, hidden=hidden)
    for sampling, numbers in (
        (Sampling(every_n=1), range(6)),
        (Sampling(every_n=2), (0, 2, 4)),
        (Sampling(count=100), range(6)),
    ):
        clip = Clip(BytesIO(body), sampling, VideoLimits())
        found = list(clip)
        assert [frame.number for frame in found] == list(numbers)
        assert (clip.ended, clip.info.container) == ("complete", "apng")
        for frame in found:
            np.testing.assert_allclose(np.asarray(frame.image()), shown[frame.number], atol=3)


def test_each_frame_has_the_time_that_the_ones_before_it_take() -> None:
    clip = Clip(BytesIO(encoded(parts(0, 0, seed=1))), Sampling(every_n=1), VideoLimits())
    assert [frame.seconds for frame in clip] == pytest.approx([0, 0.1, 0.3, 0.6, 1.0, 1.5])


def test_a_cut_one_is_truncated_or_refused_and_never_complete() -> None:
    body = encoded(parts(0, 1, seed=2))
    for cut in range(100, len(body) - 1, 41):
        clip = Clip(BytesIO(body[:cut]), Sampling(every_n=1), VideoLimits())
        try:
            list(clip)
        except VideoError as error:
            assert error.status == 422  # noqa: PT017  # most cuts leave frames, and raise nothing
            assert cut < len(body) / 2
        else:
            assert clip.ended == "truncated"


def test_it_is_bounded_before_it_is_decoded() -> None:
    body = encoded(parts(0, 0, seed=1))
    with pytest.raises(TooManyPixelsError):
        Clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_pixels=WIDTH * HEIGHT - 1))
    clip = Clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_frames=2))
    assert (len(list(clip)), clip.ended) == (2, "limit")


def test_a_still_png_is_an_image_whatever_comes_before_its_pixels() -> None:
    pixels = chunk(b"IDAT", stream([bytes(4 * WIDTH)] * HEIGHT))
    start = SIGNATURE + header((WIDTH, HEIGHT), 8, RGB_ALPHA)
    text = chunk(b"tEXt", b"Title\0acTL" + bytes(5000))
    for body in (start + text + pixels, start + text + pixels + chunk(b"acTL", bytes(8)), start):
        with pytest.raises(UnsupportedVideoError, match="PNG image"):
            Clip(BytesIO(body + chunk(b"IEND")), Sampling(every_n=1), VideoLimits())
