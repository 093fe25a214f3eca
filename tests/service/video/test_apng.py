"""Animated PNGs as videos: composed as the PNG specification says, over white, and shown at their times."""

import struct
from io import BytesIO

import numpy as np
import pytest

from service.errors import TooManyFramesError, TooManyPixelsError, UnsupportedVideoError, VideoError
from service.video.opening import open_clip
from service.video.reader import VideoLimits
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
        clip = open_clip(BytesIO(body), sampling, VideoLimits())
        found = list(clip)
        assert [frame.number for frame in found] == list(numbers)
        assert (clip.ended, clip.info.container) == ("complete", "apng")
        for frame in found:
            np.testing.assert_allclose(np.asarray(frame.image()), shown[frame.number], atol=3)


def test_each_frame_has_the_time_that_the_ones_before_it_take() -> None:
    clip = open_clip(BytesIO(encoded(parts(0, 0, seed=1))), Sampling(every_n=1), VideoLimits())
    assert [frame.seconds for frame in clip] == pytest.approx([0, 0.1, 0.3, 0.6, 1.0, 1.5])


def test_a_cut_one_is_truncated_or_refused_and_never_complete() -> None:
    body = encoded(parts(0, 1, seed=2))
    for cut in range(100, len(body) - 1, 41):
        clip = open_clip(BytesIO(body[:cut]), Sampling(every_n=1), VideoLimits())
        try:
            list(clip)
        except VideoError as error:
            assert (error.status, cut < 1800) == (422, True), "the first frame takes 1,700 bytes"
        else:
            assert clip.ended == "truncated"


def test_it_is_bounded_before_it_is_decoded() -> None:
    body = encoded(parts(0, 0, seed=1))
    with pytest.raises(TooManyPixelsError):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(TooManyFramesError, match="6 frames would be sampled"):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_frames=5))


def test_a_still_png_is_an_image_whatever_comes_before_its_pixels() -> None:
    pixels = chunk(b"IDAT", stream([bytes(4 * WIDTH)] * HEIGHT))
    start = SIGNATURE + header((WIDTH, HEIGHT), 8, RGB_ALPHA)
    text = chunk(b"tEXt", b"Title\0acTL" + bytes(5000))
    for body in (start + text + pixels, start + text + pixels + chunk(b"acTL", bytes(8)), start):
        with pytest.raises(UnsupportedVideoError, match="PNG image"):
            open_clip(BytesIO(body + chunk(b"IEND")), Sampling(every_n=1), VideoLimits())


def test_a_side_of_a_million_pixels_is_read() -> None:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1_000_000, 0, 0, 1, 10, 0, 0)
    body = (
        SIGNATURE + header((1, 1_000_000), 8, RGB_ALPHA) + chunk(b"acTL", bytes([0, 0, 0, 1] * 2))
    )
    body += chunk(b"fcTL", control) + chunk(b"IDAT", stream([b"\xc8\0\0\xff"] * 1_000_000))
    (frame,) = open_clip(
        BytesIO(body + chunk(b"IEND")), Sampling(count=1), VideoLimits(max_pixels=1_000_000)
    )
    assert frame.image().size == (1, 1_000_000)
    assert frame.image().getpixel((0, 999_999)) == (200, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_any_frames_in_any_order_are_composed_as_the_specification_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = bool(seed % 2)
    frames = []
    for number in range(6):
        covers = rng.random() < 0.3 or (not number and not hidden)
        width, height = (WIDTH, HEIGHT) if covers else (8, 6)
        left, top = (0, 0) if covers else (int(rng.integers(16)), int(rng.integers(10)))
        pixels = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        pixels[..., 3] = rng.choice([0, 100, 255], (height, width))
        frames.append(Part(pixels, left, top, 10, int(rng.integers(3)), int(rng.integers(2))))
    body = encoded(frames, hidden=hidden)
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    found = list(clip)
    assert (len(found), clip.ended, clip.detail) == (6, "complete", "")
    for frame, shown in zip(found, composed(frames), strict=True):
        np.testing.assert_allclose(np.asarray(frame.image()), shown, atol=4)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dispose", [1, 2])
def test_areas_without_a_frame_are_white_in_every_kind_of_pixels(
    dispose: int, channels: int, depth: int
) -> None:
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    sample = 40 if depth == 8 else 40 * 257
    opaque = [sample] * (channels - 1 + channels % 2) + [2**depth - 1] * (1 - channels % 2)
    pixel = b"".join(value.to_bytes(depth // 8, "big") for value in opaque)
    body = SIGNATURE + header((8, 8), depth, kind) + chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, dispose, 0))
    body += chunk(b"IDAT", stream([pixel * 8] * 8))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 2, 3, 3, 1, 10, 1, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + stream([pixel * 2] * 2)) + chunk(b"IEND")
    first, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    expected = np.full((8, 8, 3), 255)
    expected[3:5, 3:5] = 40
    np.testing.assert_array_equal(np.asarray(first.image()), 40)
    np.testing.assert_array_equal(np.asarray(second.image()), expected)


@pytest.mark.parametrize(("depth", "kind"), [(8, 0), (16, 0), (4, 0), (8, 2), (16, 2)])
def test_the_transparent_color_of_a_frame_shows_what_is_below(depth: int, kind: int) -> None:
    channels = 3 if kind == 2 else 1
    clear, below = 3, 2**depth - 1 if depth < 8 else 7 * 2 ** (depth - 8)

    def rows(*samples: int) -> bytes:
        bits = "".join(f"{sample:0{depth}b}" * channels for sample in samples)
        return stream([int(bits, 2).to_bytes(len(bits) // 8, "big")])

    body = SIGNATURE + header((2, 1), depth, kind)
    body += chunk(b"tRNS", struct.pack(">H", clear) * channels)
    body += chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 1, 0, 0, 1, 10, 0, 0))
    body += chunk(b"IDAT", rows(below, below))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 1, 0, 0, 1, 10, 0, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + rows(clear, 0)) + chunk(b"IEND")
    _, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    shown = 255 if depth < 8 else 7
    assert np.asarray(second.image()).tolist() == [[[shown] * 3, [0] * 3]]


def test_the_transparent_colors_of_a_palette_show_what_is_below() -> None:
    body = SIGNATURE + header((2, 1), 8, 3) + chunk(b"PLTE", bytes([9, 9, 9, 200, 0, 0]))
    body += chunk(b"tRNS", b"\xff\0") + chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 1, 0, 0, 1, 10, 0, 0))
    body += chunk(b"IDAT", stream([b"\0\1"]))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 1, 0, 0, 1, 10, 0, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + stream([b"\1\0"])) + chunk(b"IEND")
    first, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    assert np.asarray(first.image()).tolist() == [[[9] * 3, [255] * 3]]
    assert np.asarray(second.image()).tolist() == [[[9] * 3, [9] * 3]]
