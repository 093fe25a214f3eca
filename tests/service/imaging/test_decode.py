import contextlib
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from service.errors import (
    BrokenImageError,
    EmptyImageError,
    ImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from service.imaging.decode import Limits, open_image, read_pixels
from tests.images import encode, photograph

LIMITS = Limits(max_pixels=1_000_000)


def color_of(body: bytes) -> tuple[int, int, int]:
    pixels = read_pixels(open_image(body, LIMITS)).convert("RGB")
    r, g, b = np.asarray(pixels).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return r, g, b


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_is_read(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    red, green, blue = color_of(encode(Image.new("RGB", (32, 32), (200, 40, 90)), form))
    assert abs(red - 200) + abs(green - 40) + abs(blue - 90) <= 9


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_a_moving_image_the_first_frame_is_used(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "lime")]
    body = encode(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    assert color_of(body) == pytest.approx((255, 0, 0), abs=3)


@pytest.mark.parametrize(
    ("mode", "fill", "shown"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 0x8080, (128, 128, 128)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), (255, 255, 255)),
    ],
)
def test_every_mode_is_shown_as_on_white_paper(
    mode: str, fill: int | tuple[int, ...], shown: tuple[int, int, int]
) -> None:
    assert color_of(encode(Image.new(mode, (8, 8), fill))) == pytest.approx(shown, abs=1)


def test_a_transparent_palette_color_is_white() -> None:
    image = Image.new("P", (8, 8), 3)
    assert color_of(encode(image, "GIF", transparency=3)) == (255, 255, 255)


def test_a_cmyk_jpeg_is_read() -> None:
    body = encode(Image.new("CMYK", (16, 16), (255, 255, 0, 0)), "JPEG", quality=95)
    red, green, blue = color_of(body)
    assert blue > 200
    assert red + green < 100


@pytest.mark.parametrize(
    ("mode", "fill", "gray"),
    [("I", 65535, 255), ("I", 200, 200), ("F", 0.5, 128), ("F", 200.0, 200)],
)
def test_deep_gray_is_brought_to_eight_bits(mode: str, fill: float, gray: int) -> None:
    assert color_of(encode(Image.new(mode, (8, 8), fill), "TIFF")) == (gray, gray, gray)


def test_no_bytes_are_no_image() -> None:
    with pytest.raises(EmptyImageError):
        open_image(b"", LIMITS)


@pytest.mark.parametrize("body", [b"hello", b"%PDF-1.7 ...", b"<svg/>", b"\x00" * 100, b"\xff\xd8"])
def test_what_is_no_image_is_named_so(body: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="Send JPEG"):
        open_image(body, LIMITS)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95])
def test_a_image_cut_short_is_a_image_error_and_nothing_else(form: str, kept: float) -> None:
    body = photograph("coffee", form)
    with pytest.raises(ImageError):
        read_pixels(open_image(body[: int(len(body) * kept)], LIMITS))


def test_a_truncated_jpeg_says_so() -> None:
    body = photograph("coffee")
    with pytest.raises(BrokenImageError, match="cut short"):
        read_pixels(open_image(body[: len(body) // 2], LIMITS))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(TooManyPixelsError, match="2000×2000 pixels are more than the 1 million"):
        open_image(png_of_size(2000, 2000), LIMITS)
    with pytest.raises(TooManyPixelsError, match="1000 million"):
        open_image(png_of_size(60_000, 60_000), Limits(max_pixels=10**9))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_never_escapes_as_another_error() -> None:
    random = np.random.default_rng(7)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        whole = np.frombuffer(
            encode(Image.open(BytesIO(photograph("rocket"))).resize((80, 60)), form), np.uint8
        )
        for _ in range(60):
            hurt = whole.copy()
            places = random.integers(0, len(hurt), 8)
            hurt[places] = random.integers(0, 256, 8)
            with contextlib.suppress(ImageError):
                read_pixels(open_image(hurt.tobytes(), LIMITS))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises far more than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
