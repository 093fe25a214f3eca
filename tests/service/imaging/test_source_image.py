from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.card import ImageInput
from service.errors import BrokenImageError, TooManyPixelsError
from service.imaging.decode import Limits
from service.imaging.geometry import plan
from service.imaging.source_image import SourceImage
from tests.images import encode, photograph


def source(body: bytes | Image.Image, max_pixels: int = 10**6) -> SourceImage:
    geometry = plan(8, 8, ImageInput(height=8, width=8, resize="stretch"))
    return SourceImage(body, geometry, Limits(max_pixels))


@pytest.mark.parametrize("tag", [1, 3, 6, 8])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_an_image_is_displayed_upright_at_its_own_size(form: str, tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    body = encode(Image.open(BytesIO(photograph("rocket"))).resize((40, 24)), form, exif=exif)
    shown = source(body).displayed()
    assert np.array_equal(
        np.asarray(shown), np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(body))))
    )


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "I;16"])
def test_any_image_is_displayed_as_rgb(mode: str) -> None:
    assert source(encode(Image.new(mode, (8, 6)))).displayed().mode == "RGB"


def test_a_frame_of_a_clip_is_displayed_as_it_is() -> None:
    frame = Image.new("RGB", (8, 6), "red")
    assert source(frame).displayed() is frame


def test_what_can_not_be_read_raises_the_error_of_its_image() -> None:
    body = photograph("coffee")
    with pytest.raises(BrokenImageError):
        source(body[: len(body) // 2]).displayed()
    with pytest.raises(TooManyPixelsError):
        source(body, max_pixels=100).displayed()


def test_what_is_drawn_does_not_change_a_frame_of_a_video() -> None:
    frame = Image.new("RGB", (8, 6), "red")
    drawn = source(frame).drawable()
    drawn.paste("blue", (0, 0, 8, 6))
    assert frame.getpixel((0, 0)) == (255, 0, 0)
    assert source(encode(frame)).drawable().getpixel((0, 0)) == (255, 0, 0)
