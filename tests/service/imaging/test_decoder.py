"""Decoding on the thread of the caller: an image that a head draws on is decoded once, and looks the same."""

import zlib
from contextlib import nullcontext
from io import BytesIO
from itertools import chain, repeat

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import BrokenImageError, DeadlineError, TooManyPixelsError
from service.imaging.decode import Limits
from service.imaging.decoder import ThreadDecoder
from service.imaging.room import PixelRoom
from service.imaging.source_image import SourceImage, displayed_image
from tests.images import encode, photograph
from tests.tiffs import DEFLATE, FLOAT, RGB, tiff_of, tiled

FRAME = ImageInput(height=24, width=24, resize="crop", shorter_side=26)
LIMITS = Limits(10**8)


def prepared(body: bytes, *, draws: bool) -> tuple[bytes, SourceImage]:
    decoder = ThreadDecoder(LIMITS, PixelRoom(10**9))
    frame, source = decoder.prepare(body, FRAME, float("inf"), draws=draws)
    return frame.tobytes(), source


def small(mode: str, form: str, tag: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tag
    image = Image.open(BytesIO(photograph("rocket"))).resize((40, 28)).convert(mode)
    return encode(image, form, exif=exif)


@pytest.mark.parametrize("tag", [1, 2, 6, 8])
@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")]
)
def test_an_image_that_is_drawn_on_is_decoded_once_and_looks_as_if_decoded_again(
    mode: str, form: str, tag: int
) -> None:
    body = small(mode, form, tag)

    frame, source = prepared(body, draws=True)

    assert source.pixels is not None
    assert source.displayed() is source.pixels
    again = displayed_image(body, LIMITS)
    assert source.pixels.mode == again.mode == "RGB"
    assert np.array_equal(np.asarray(source.pixels), np.asarray(again))
    assert prepared(body, draws=False)[0] == frame


def test_headers_are_read_until_the_deadline_and_no_longer() -> None:
    times = iter((0.0, 0.5, 1.0))
    decoder = ThreadDecoder(LIMITS, PixelRoom(10**9), clock=lambda: next(times))
    images = [small("RGB", form, 1) for form in ("TIFF", "GIF")]
    assert [one.pixels for one in decoder.announced(images, 1.0)] == [40 * 28] * 2
    with pytest.raises(DeadlineError):
        decoder.announced(images, 1.0)
    assert next(times, None) is None, "the third was not begun"


def test_an_image_is_not_opened_after_the_deadline() -> None:
    decoder = ThreadDecoder(LIMITS, PixelRoom(10**9), clock=lambda: 1.0)
    for body in (small("RGB", "PNG", 1), b"no image"):
        with pytest.raises(DeadlineError):
            decoder.prepare(body, FRAME, until=1.0)


@pytest.mark.parametrize("tile", [16, 256])
def test_a_small_tiff_in_large_tiles_has_a_deadline_as_a_large_image_has(tile: int) -> None:
    body = tiled((1, 20_000), (tile, tile), zlib.compress(bytes(tile * tile)))
    times = chain([0.0], repeat(2.0))
    decoder = ThreadDecoder(LIMITS, PixelRoom(10**9), clock=lambda: next(times))
    with pytest.raises(DeadlineError) if tile > 16 else nullcontext():
        decoder.prepare(body, FRAME, until=1.0)


@pytest.mark.parametrize(("bits", "held"), [(16, 1_200_000), (32, 1_600_000), (64, 3_200_000)])
def test_deep_samples_take_room_for_the_memory_that_they_take(bits: int, held: int) -> None:
    form = FLOAT if bits > 16 else 1
    tags: dict[int, int | tuple[int, ...]] = {
        256: 1200,
        258: (bits,) * 3,
        262: RGB,
        277: 3,
        339: (form,) * 3,
    }
    body = tiff_of([bytes(1200 * 3 * bits // 8)] * 1000, tags, compression=DEFLATE)
    room = PixelRoom(10**9)
    decoder = ThreadDecoder(LIMITS, room)
    room.fit(held, held)
    _, source = decoder.prepare(body, FRAME, float("inf"))
    assert source.held_pixels == held
    room.fit(held - 1, held - 1)
    with pytest.raises(TooManyPixelsError):
        decoder.prepare(body, FRAME, float("inf"))


def test_what_is_drawn_does_not_change_the_pixels_that_are_kept() -> None:
    _, source = prepared(small("RGB", "JPEG", 1), draws=True)
    before = source.displayed().tobytes()

    source.drawable().paste("blue", (0, 0, 8, 6))

    assert source.displayed().tobytes() == before


def test_nothing_is_kept_of_an_image_that_is_not_drawn_on_or_not_decoded_whole() -> None:
    large = Image.new("RGB", (1200, 900), "red")
    body = encode(large.resize((900, 700)), "JPEG")  # the network gets it at a reduced scale

    assert prepared(small("RGB", "JPEG", 1), draws=False)[1].pixels is None
    assert prepared(body, draws=True)[1].pixels is None
    assert prepared(body, draws=True)[1].displayed().size == (900, 700)
    assert prepared(encode(large, "PNG"), draws=True)[1].pixels is None


def test_an_image_that_is_cut_short_is_refused_whether_it_is_drawn_on_or_not() -> None:
    body = photograph("coffee")
    for draws in (True, False):
        with pytest.raises(BrokenImageError):
            prepared(body[: len(body) // 2], draws=draws)
