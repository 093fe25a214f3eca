"""The pixels that images have by their headers, without decoding them."""

import random
import struct

import pytest
from PIL import Image

from service.errors import ImageError
from service.imaging.announced import quick_pixels, read_header
from service.imaging.decode import Limits, open_image
from tests.images import encode
from tests.tiffs import PACKBITS, tiled

SIZE = (37, 21)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_pixels_of_every_format_are_those_of_its_header(kind: str) -> None:
    image = encode(Image.new("RGB", SIZE), kind)
    assert read_header(image).pixels == 37 * 21


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}]
)
def test_a_jpeg_is_read_without_a_reader(options: dict[str, object]) -> None:
    assert quick_pixels(encode(Image.new("L", SIZE), "JPEG", **options)) == 37 * 21


def test_a_jpeg_counts_with_the_largest_size_that_it_states() -> None:
    image = encode(Image.new("L", SIZE), "JPEG")
    at = image.index(b"\xff\xc0")
    small = struct.pack(">HBHHB", 8, 8, 1, 1, 0)
    for doubled in (
        image[:at] + b"\xff\xc0" + small + image[at:],
        image[: at + 2 + 11] + b"\xff\xc0" + small + image[at + 2 + 11 :],
    ):
        assert quick_pixels(doubled) == 37 * 21


def test_what_needs_a_reader_is_not_guessed() -> None:
    image = encode(Image.new("L", SIZE), "JPEG")
    assert quick_pixels(image[:2] + b"junk" + image[2:]) is None
    assert quick_pixels(image[:2] + b"\xff\xe0\0\2" * 300 + image[2:]) is None
    for kind in ("AVIF", "GIF"):
        assert quick_pixels(encode(Image.new("RGB", SIZE), kind)) is None


def test_a_gif_counts_with_a_first_frame_that_is_larger_than_its_canvas() -> None:
    body = bytearray(encode(Image.new("P", SIZE), "GIF"))
    body[6:10] = struct.pack("<HH", 1, 1)

    assert read_header(bytes(body)).pixels == 37 * 21 == pixels_of(bytes(body))


@pytest.mark.parametrize("bits", [2, 8, 32])
def test_a_bmp_counts_with_its_header_whatever_its_depth_and_direction(bits: int) -> None:
    body = bytearray(encode(Image.new("L", SIZE), "BMP"))
    body[22:26] = struct.pack("<i", -21)
    body[28:30] = struct.pack("<H", bits)
    assert quick_pixels(bytes(body)) == 37 * 21
    old = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 37, 21, 1, 24) + bytes(8)
    assert quick_pixels(old) == 37 * 21


def pixels_of(body: bytes) -> int:
    """Return the pixels of an image that is opened, 0 of one that is refused."""
    try:
        return open_image(body, Limits()).pixels
    except ImageError:
        return 0


@pytest.mark.filterwarnings("ignore")  # the engine switches them off
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_no_damaged_header_hides_pixels_that_are_read(kind: str) -> None:
    made = random.Random(kind)
    whole = encode(Image.effect_noise(SIZE, 50).convert("RGB"), kind)
    opened = 0
    for _ in range(600):
        body = bytearray(whole)
        for _ in range(made.choice((1, 2, 4))):
            body[made.randrange(min(len(body), made.choice((40, 120, 400))))] = made.randrange(256)
        pixels = pixels_of(bytes(body))
        opened += pixels > 0
        assert pixels <= read_header(bytes(body)).pixels, body.hex()
    assert opened > 20


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("PNG", {}),
    ],
)
def test_a_header_of_fixed_places_is_read_without_a_reader(
    kind: str, options: dict[str, object]
) -> None:
    assert quick_pixels(encode(Image.new("RGB", (300, 21)), kind, **options)) == 300 * 21


@pytest.mark.filterwarnings("ignore")  # the engine switches them off
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 20, 23, 30])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_what_can_not_be_read_counts_as_none(kind: str, cut: int) -> None:
    assert read_header(encode(Image.new("RGB", SIZE), kind)[:cut]).pixels in {0, 37 * 21}


def test_no_bytes_and_no_image_have_no_pixels() -> None:
    assert [read_header(one) for one in (b"", b"text", bytes(100))] == [(0, 0)] * 3


@pytest.mark.parametrize("compression", [PACKBITS, 5, 7, 8])
@pytest.mark.parametrize(
    ("size", "tile", "expected"),
    [
        ((37, 21), (16, 16), 37 * 21),
        ((37, 21), (256, 256), 256 * 256 // 2),
        ((37, 21), (512, 512), 512 * 512 // 2),
        ((1, 20_000), (64, 64), 64 * 20_032 // 2),
        ((1, 1_000_000), (65_520, 16), 65_520 * 1_000_000 // 2),
    ],
)
def test_tiles_that_reach_far_over_the_edges_of_a_tiff_count(
    size: tuple[int, int], tile: tuple[int, int], expected: int, compression: int
) -> None:
    body = tiled(size, tile, b"data", compression=compression)
    assert read_header(body).pixels == expected
    assert pixels_of(body) in {expected, 0}
