"""Whatever is sent in place of an image: the message says what it is, and what to send."""

import gzip
import struct

import pytest

from service.errors import BrokenImageError, UnsupportedImageError
from service.imaging.decode import Limits, open_image, read_pixels
from tests.images import encode, photograph, plain


def ftyp(brand: bytes, *others: bytes) -> bytes:
    data = brand + bytes(4) + b"".join(others)
    return struct.pack(">L", 8 + len(data)) + b"ftyp" + data + bytes(64)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"hello", "no image that is understood"),
        (b"\0" * 600, "no image that is understood"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(50), "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\1\0\1\0", "ICO"),
        (ftyp(b"heic", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"crx "), "camera raw"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"  <svg/>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (gzip.compress(b"image", mtime=0), "gzip"),
        (b"PK\x03\x04" + bytes(50), "ZIP"),
        (b'{"image": "abc"}', "application/json"),
        (b"\xef\xbb\xbf [1, 2]", "application/json"),
        (b"https://example.com/cat.jpg", "does not fetch"),
        (b"data:image/png;base64,iVBORw0KGgo=", "data: URL"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64"),
        (b"/9j/4AAQSkZJRgABAQ", "base64"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_another_format_is_named(body: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        open_image(body, Limits())
    assert says in str(caught.value)
    assert "end " in str(caught.value)  # Send …, or send …


@pytest.mark.parametrize(
    "body",
    [
        ftyp(b"isom", b"iso2", b"avc1"),
        ftyp(b"qt  "),
        ftyp(b"mp42"),
        struct.pack(">L", 8) + b"wide" + bytes(30),
        b"\x1a\x45\xdf\xa3" + bytes(50),
        b"RIFF" + bytes(4) + b"AVI LIST",
        b"\0\0\1\xba" + bytes(50),
        (b"G" + bytes(187)) * 4,
        b"FLV\x01" + bytes(20),
    ],
)
def test_a_video_is_sent_to_its_own_route(body: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match=r"a video .* Send it to /v1/video"):
        open_image(body, Limits())


def jpeg_with(code: int, bits: int, components: int) -> bytes:
    frame = struct.pack(">BHHB", bits, 16, 16, components) + bytes(3 * components)
    return b"\xff\xd8\xff" + bytes([code]) + struct.pack(">H", len(frame) + 2) + frame + bytes(20)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (jpeg_with(0xC1, 12, 3), "12 bits per sample, and 8 are read"),
        (jpeg_with(0xC3, 16, 1), "lossless"),
        (jpeg_with(0xF7, 8, 1), "JPEG-LS"),
        (jpeg_with(0xC5, 8, 3), "hierarchical"),
        (jpeg_with(0xC0, 8, 2), "2 components"),
    ],
)
def test_a_jpeg_of_a_kind_that_is_not_read_is_named(body: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImageError, match=says):
        read_pixels(open_image(body, Limits()))


def bmp_of(bits: int, compression: int, masks: tuple[int, ...] = ()) -> bytes:
    info = struct.pack("<LllHHLLllLL", 40, 2, 2, 1, bits, compression, 0, 0, 0, 0, 0)
    body = info + struct.pack(f"<{len(masks)}L", *masks) + bytes(64)
    return struct.pack("<2sLLL", b"BM", 14 + len(body), 0, 14 + len(body) - 64) + body


@pytest.mark.parametrize(
    "body",
    [bmp_of(16, 3, (0x0F0F, 0x00F0, 0x000F)), bmp_of(24, 4), bmp_of(24, 5), bmp_of(3, 0)],
    ids=["a gap", "JPEG inside", "PNG inside", "3 bits"],
)
def test_a_bmp_of_a_kind_that_is_not_read_is_not_called_damaged(body: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="Send it with 24 bits per pixel, or PNG"):
        open_image(body, Limits())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (plain("red", form="JPEG")[:50], "The JPEG can not be read: it ends too early"),
        (plain("red", form="GIF")[:12], "The GIF can not be read"),
        (plain("red", form="PNG")[:30], "cut short"),
        (ftyp(b"avif", b"mif1"), "The AVIF can not be read"),
        (
            b"\0\0\0\x20ftyp",
            "ends after 8 bytes, before it says whether it is an AVIF or a video",
        ),
        (b"II*\0\x08\0", "The TIFF can not be read"),
        (b"MM\0+\0\x08\0\0", "The TIFF can not be read"),
        (ftyp(b"mif1", b"avif"), "The AVIF can not be read"),
        (b"RIFF\x24\0\0\0WEBPVP8X", "The WebP can not be read: it ends too early"),
    ],
)
def test_a_known_format_that_is_cut_short_is_not_called_unknown(body: bytes, says: str) -> None:
    with pytest.raises(BrokenImageError) as caught:
        open_image(body, Limits())
    assert says in str(caught.value)


def test_a_whole_image_is_not_explained() -> None:
    assert open_image(encode(open_image(photograph("coffee"), Limits()).file), Limits()).size


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"P5\n2 2\n255\n" + bytes(4), "Netpbm"),
        (b"P6 2 2 255\n" + bytes(12), "Netpbm"),
        (b"P3\n# a comment\n1 1\n255\n0 0 0\n", "Netpbm"),
        (b"P7\nWIDTH 1\n", "Netpbm"),
        (b"PF\n1 1\n-1.0\n" + bytes(12), "float map"),
        (b"\x93NUMPY\1\0v\0{'descr': '|u1'}", "NumPy array"),
    ],
)
def test_netpbm_and_numpy_files_are_named(body: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImageError, match=rf"The bytes are .*{says}.*Send JPEG"):
        open_image(body, Limits())
