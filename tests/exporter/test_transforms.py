"""Preprocessing as frameworks do it."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.encoding import as_png
from exporter.recipe import Pixels
from exporter.transforms import decode, fit, pixel_values, plain_transform
from service.card import ImageInput
from service.errors import ImageError
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded

WIDE = Image.fromarray(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))


def test_an_image_is_decoded_upright_and_in_rgb() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    buffer = BytesIO()
    WIDE.save(buffer, "PNG", exif=exif)

    upright = decode(buffer.getvalue())

    assert (upright.size, upright.mode) == ((4, 8), "RGB")


def test_a_crop_keeps_the_center_of_the_resized_image() -> None:
    crop = ImageInput(height=4, width=4, resize="crop", shorter_side=4)
    np.testing.assert_array_equal(fit(WIDE, crop), np.asarray(WIDE)[:, 2:6])


def test_a_letterbox_centers_the_image_on_the_padding() -> None:
    letterbox = ImageInput(
        height=8, width=8, resize="letterbox", pad_color=(9, 9, 9), interpolation="nearest"
    )
    fitted = np.asarray(fit(WIDE, letterbox))
    np.testing.assert_array_equal(fitted[2:6], np.asarray(WIDE))
    assert (fitted[[0, 1, 6, 7]] == 9).all()


def test_a_letterbox_in_the_corner_has_its_padding_on_the_right_and_below() -> None:
    for size, place in (((8, 8), np.s_[:4, :]), ((12, 4), np.s_[:, :8])):
        letterbox = ImageInput(
            height=size[1],
            width=size[0],
            resize="letterbox",
            pad_color=(9, 9, 9),
            interpolation="nearest",
            placement="corner",
        )
        expected = np.full((size[1], size[0], 3), 9, np.uint8)
        expected[place] = np.asarray(WIDE)
        np.testing.assert_array_equal(fit(WIDE, letterbox), expected)


def test_a_stretch_ignores_the_aspect_ratio() -> None:
    assert fit(WIDE, ImageInput(height=5, width=3, resize="stretch")).size == (3, 5)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (Pixels(), [1.0, 0.2, 0.0]),
        (Pixels(mean=(0.5, 0.2, 0.5), std=(0.5, 1.0, 0.25)), [1.0, 0.0, -2.0]),
        (Pixels(color="bgr"), [0.0, 0.2, 1.0]),
        (Pixels(color="gray"), [0.299 + 0.587 / 5]),
        (Pixels(scale=1.0, layout="NHWC"), [255.0, 51.0, 0.0]),
    ],
)
def test_a_pixel_becomes_the_values_that_the_network_reads(
    pixels: Pixels, expected: list[float]
) -> None:
    found = pixel_values(np.array([[[[255, 51, 0]]]], np.uint8), pixels)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(640, 480), (451, 300), (100, 80), (1000, 30), (7, 900)])
def test_linear_is_pytorch_s_bilinear_without_antialiasing(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    target = ImageInput(height=96, width=128, resize="stretch", interpolation="linear")
    channels = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    expected = torch.nn.functional.interpolate(channels, (96, 128), mode="bilinear")
    values = expected[0].numpy().transpose(1, 2, 0)
    assert np.abs(np.asarray(fit(Image.fromarray(pixels), target)) - values).max() <= 0.51
    frame, _ = fit_encoded(as_png(pixels), target, Limits())
    assert np.abs(frame - values).max() <= 1.5


@pytest.mark.parametrize(
    "how",
    [
        {"resize": "crop", "shorter_side": 150},
        {"resize": "letterbox"},
        {"resize": "letterbox", "placement": "corner"},
    ],
    ids=str,
)
def test_linear_is_the_service_s_in_a_crop_and_in_a_letterbox(how: dict[str, Any]) -> None:
    target = ImageInput.model_validate(
        {**how, "height": 96, "width": 128, "interpolation": "linear"}
    )
    pixels = np.random.default_rng(2).integers(0, 256, (333, 500, 3), np.uint8)
    frame, _ = fit_encoded(as_png(pixels), target, Limits())
    expected = np.asarray(fit(Image.fromarray(pixels), target)).astype(np.int16)
    assert np.abs(frame - expected).max() <= 1


def test_the_plain_transform_goes_from_bytes_to_pixel_values() -> None:
    target = ImageInput(height=4, width=8, resize="stretch")
    found = plain_transform(target, Pixels())(as_png(np.asarray(WIDE)))
    np.testing.assert_allclose(found, np.asarray(WIDE).transpose(2, 0, 1) / 255, atol=1e-6)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def clear(mode: str) -> Image.Image:
    """Return a black image with one clear pixel, the first."""
    image = Image.new("RGBA", (4, 3), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")]
)
def test_alpha_is_laid_over_white_as_in_the_service(mode: str, kind: str) -> None:
    """Pillow alone drops it, and so do the frameworks."""
    pixels = np.asarray(decode(encoded(clear(mode), kind, lossless=True)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert (pixels[1:] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_gray_are_scaled(kind: str) -> None:
    """Pillow alone clips them at 255."""
    deep = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    assert np.asarray(decode(encoded(deep, kind)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_palette_s_clear_color_is_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    found = np.asarray(decode(encoded(image, "PNG", transparency=0)))
    assert found.tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_an_orientation_that_only_xmp_states_is_not_applied() -> None:
    """Browsers and the service do not apply it either."""
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    assert decode(encoded(WIDE, "JPEG", xmp=xmp)).size == WIDE.size


def test_an_image_that_the_service_does_not_read_has_the_service_s_error() -> None:
    with pytest.raises(ImageError, match="no image"):
        decode(b"no image")
