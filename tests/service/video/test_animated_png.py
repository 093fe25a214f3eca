"""Animated PNGs as videos: composed as the PNG specification says, over white, and shown at their times."""

import struct
from io import BytesIO

import numpy as np
import pytest

from service.errors import TooManyPixelsError, UnsupportedVideoError, VideoError
from service.video.reader import Clip, VideoLimits
from service.video.sampling import Sampling
from tests.animations import HEIGHT, WIDTH, Part, composed, parts
from tests.pngs import RGB_ALPHA, SIGNATURE, chunk, header, stream


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
            assert (error.status, cut < 1800) == (422, True), "the first frame takes 1,700 bytes"
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


def test_a_side_of_a_million_pixels_is_read() -> None:
    body = bytearray(encoded(parts(0, 0, seed=1)))
    for name in (b"IHDR", b"fcTL"):
        at = body.index(name) + (8 if name == b"IHDR" else 12)
        body[at : at + 4] = struct.pack(">I", 1_000_000)
    (frame,) = Clip(BytesIO(bytes(body)), Sampling(count=1), VideoLimits())
    assert frame.image().size == (WIDTH, 1_000_000)
