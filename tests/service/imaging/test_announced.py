"""The pixels that images have by their headers, without decoding them."""

import struct

import pytest
from PIL import Image

from service.imaging.announced import announced_pixels, quick_pixels
from tests.images import encode

SIZE = (37, 21)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_pixels_of_every_format_are_those_of_its_header(kind: str) -> None:
    image = encode(Image.new("RGB", SIZE), kind)
    assert announced_pixels([image, image]) == 2 * 37 * 21


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
    assert quick_pixels(encode(Image.new("RGB", SIZE), "AVIF")) is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
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
    assert announced_pixels([encode(Image.new("RGB", SIZE), kind)[:cut]]) in {0, 37 * 21}


def test_no_bytes_and_no_image_have_no_pixels() -> None:
    assert announced_pixels([b"", b"text", bytes(100)]) == 0
