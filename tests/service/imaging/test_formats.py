"""Formats that an operator does not want are refused by their first bytes; no reader of theirs sees them."""

import struct
from io import BytesIO

import pytest
from PIL import Image, ImageFile

from service.errors import BrokenImageError, ImageError, UnsupportedImageError
from service.imaging.announced import read_header
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.formats import FORMATS, formats_of
from service.imaging.work import announced
from tests.images import encode

GRADIENT = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
ENCODED = {form: encode(GRADIENT, form) for form in FORMATS}
MARK = b"FOVEALTEST"


def only(*formats: str) -> Limits:
    return Limits(formats=formats_of(formats))


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_alone_on_the_list_is_read_and_each_other_one_refused(form: str) -> None:
    assert read_pixels(open_image(ENCODED[form], only(form.lower()))).size == (40, 30)
    name = {"WEBP": "WebP"}.get(form, form)
    for other in set(FORMATS) - {form}:
        with pytest.raises(UnsupportedImageError, match=rf"does not read\. Send {name}\.$"):
            open_image(ENCODED[other], only(form.lower()))


def test_an_empty_list_is_all_formats() -> None:
    assert formats_of([]) is FORMATS
    for body in ENCODED.values():
        open_image(body, Limits(formats=formats_of([])))


def test_the_refusal_names_all_that_are_allowed_in_a_fixed_order() -> None:
    with pytest.raises(
        UnsupportedImageError,
        match=r"^The image is GIF, which this service does not read\. Send JPEG, PNG or WebP\.$",
    ):
        open_image(ENCODED["GIF"], only("webp", "png", "jpeg"))


@pytest.mark.parametrize(
    "body",
    [
        b"P6\n1 1\n255\nabc",
        b"\0\0\1\0\1\0",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"8BPS",
        b"hello",
        b"RIFF",
        b"BX",
    ],
)
def test_what_is_never_read_is_answered_with_what_is_allowed(body: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match=r"Send PNG\.$"):
        open_image(body, only("png"))


def test_a_damaged_image_of_an_allowed_format_is_damaged() -> None:
    with pytest.raises(BrokenImageError):
        open_image(ENCODED["PNG"][:30], only("png"))


def test_a_tiff_does_not_bring_in_the_decoder_of_jpeg() -> None:
    body = encode(GRADIENT, "TIFF", compression="jpeg")
    assert read_pixels(open_image(body, only("tiff", "jpeg"))).size == (40, 30)
    with pytest.raises(UnsupportedImageError, match=r"compressed as JPEG, which .* Send TIFF\."):
        open_image(body, only("tiff"))


@pytest.mark.parametrize(("method", "form"), [(6, "JPEG"), (7, "JPEG"), (50001, "WebP")])
def test_a_tiff_with_the_compression_of_another_format_is_refused_by_its_tag(
    method: int, form: str
) -> None:
    body = encode(GRADIENT, "TIFF")
    tag = struct.pack("<HHI", 259, 3, 1)  # Compression, one SHORT
    at = body.index(tag) + len(tag)
    body = body[:at] + struct.pack("<H", method) + body[at + 2 :]
    with pytest.raises(UnsupportedImageError, match=f"compressed as {form}, which"):
        open_image(body, only("tiff", "png"))


def test_a_tiff_of_another_compression_needs_no_other_format() -> None:
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits"):
        body = encode(GRADIENT, "TIFF", compression=compression)
        assert read_pixels(open_image(body, only("tiff"))).size == (40, 30)


@pytest.fixture
def witness() -> "list[bytes]":
    """Return what a reader of Pillow got that takes every file which begins with the mark; it is registered here."""
    seen: list[bytes] = []

    class Witness(ImageFile.ImageFile):
        format = "WITNESS"

        def _open(self) -> None:
            assert self.fp is not None
            seen.append(self.fp.read())
            self._size, self._mode = (8, 8), "L"

    Image.register_open("WITNESS", Witness, lambda prefix: prefix.startswith(MARK))
    return seen


def test_no_reader_outside_the_list_sees_an_image_at_any_step(witness: list[bytes]) -> None:
    with Image.open(BytesIO(MARK)) as file:  # so it is there for whoever asks for all readers
        assert (file.format, witness.pop()) == ("WITNESS", MARK)
    body = MARK + bytes(50)
    with pytest.raises(ImageError):
        open_image(body, Limits())
    with pytest.raises(ImageError):
        open_image(body, only("png"))
    assert read_header(body).pixels == 0
    assert announced(body) == (0, 0)
    assert witness == []


def test_pixels_of_a_format_that_is_off_are_not_counted_by_its_reader() -> None:
    assert read_header(ENCODED["AVIF"], formats_of(["bmp"])).pixels == 0
    assert read_header(ENCODED["BMP"], formats_of(["bmp"])).pixels == 40 * 30
