"""What was sent in the place of an image or a video, by the signatures that the formats' specifications give."""

import gzip
import io
import re
import zipfile

import pytest
from PIL import Image

from service.api.ingest.kind import not_a_video, not_an_image, stripped_by_curl
from tests.images import photograph

MP4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41"
QUICKTIME = b"\0\0\0\x14ftypqt  \0\0\x02\0qt  "
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
AVI = b"RIFF\x10\0\0\0AVI LIST"


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, name)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        files.writestr("cat.jpg", b"image")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_an_image_is_not_suspected(name: str) -> None:
    assert not_an_image(encoded(name)) is None


@pytest.mark.parametrize("length", [8, 11, 12, 20, 40])
def test_the_first_bytes_of_an_avif_are_not_called_a_video(length: int) -> None:
    assert not_an_image(encoded("AVIF")[:length]) is None


def test_an_image_may_name_its_brand_behind_another_one() -> None:
    assert not_an_image(b"\0\0\0\x18ftypisom\0\0\0\0mif1avif") is None


@pytest.mark.parametrize(
    ("body", "stated"),
    [
        (MP4, "MP4 or MOV.* /v1/video"),
        (QUICKTIME, "MP4 or MOV"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "MP4 or MOV"),
        (b"\0\0\0\x1cftypM4A \0\0\2\0M4A isom", r"are sound \(M4A\)\. Send an image"),
        (b"\0\0\0\x1cftypM4B \0\0\2\0M4A isom", r"are sound \(M4A\)"),
        (WEBM, "WebM or Matroska"),
        (AVI, "AVI"),
        (gzip.compress(b"image", mtime=0), "gzip, and no header says so.* Content-Encoding: gzip"),
        (archive(), "a ZIP archive"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<!DOCTYPE html><html>", "HTML, XML or SVG text"),
        (b"\xef\xbb\xbf\r\n<svg xmlns=", "HTML, XML or SVG text"),
        (b'{"images": []}', "JSON text"),
        (b"/9j/4AAQSkZJRg", "base64 text"),
        (b"data:image/png;base64,iVBORw0KGgo", "base64 text.* JSON"),
        (b"--x\r\nContent-Disposition: form-data", "multipart form.* content type"),
    ],
)
def test_what_is_no_image_is_named(body: bytes, stated: str) -> None:
    reason = not_an_image(body)
    assert reason is not None
    assert re.search(stated, reason), reason


@pytest.mark.parametrize(
    ("body", "stated"),
    [
        (encoded("JPEG"), "an image (JPEG)"),
        (encoded("PNG"), "an image (PNG)"),
        (encoded("WEBP"), "an image (WebP)"),
        (encoded("BMP"), "an image (BMP)"),
        (encoded("TIFF"), "an image (TIFF)"),
        (encoded("AVIF"), "an image (AVIF or HEIC)"),
        (gzip.compress(b"video", mtime=0), "Send the video itself, or add Content-Encoding: gzip"),
        (b'[{"images": 1}]', "JSON text"),
        (b"AAAAIGZ0eXBpc29t", "base64 text"),
    ],
)
def test_what_is_no_video_is_named(body: bytes, stated: str) -> None:
    assert stated in (not_a_video(body) or "")


@pytest.mark.parametrize("head", [MP4, WEBM, AVI, encoded("GIF"), b"", b"\0", b"hello, world"])
def test_other_bytes_have_no_description(head: bytes) -> None:
    assert not_a_video(head) is None


def test_text_is_not_suspected_of_being_a_file() -> None:
    assert not_an_image(b"hello, world") is None
    assert not_an_image(b"--no line follows") is None


def test_a_file_without_a_zero_byte_was_sent_by_curl_with_the_wrong_option() -> None:
    image = photograph("rocket")
    stripped = image.translate(None, b"\0\r\n")
    assert stripped_by_curl(image, "application/x-www-form-urlencoded") is None
    assert "--data-binary @FILE" in (
        stripped_by_curl(stripped, "application/x-www-form-urlencoded") or ""
    )
