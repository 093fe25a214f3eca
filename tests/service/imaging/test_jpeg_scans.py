"""JPEGs with many scans: each one costs a pass over all pixels, whatever its size."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.jpeg_scans import MAX_PASSED_PIXELS, MAX_SCANS
from tests.images import encode, photograph

SCAN, TABLE, END = b"\xff\xda", b"\xff\xc4", b"\xff\xd9"
IMAGE = Image.open(BytesIO(photograph("coffee"))).resize((48, 32))
JPEG = encode(IMAGE, "JPEG", progressive=True)


def repeated(scans: int, between: bytes = b"", of: bytes = JPEG) -> bytes:
    """Return a progressive JPEG whose last scan, with its tables, comes again: a decoder lets it."""
    last = of[of.rfind(TABLE, 0, of.rfind(SCAN)) : -2]
    return of[:-2] + (between + last) * (scans - of.count(SCAN)) + END


def load(body: bytes, reduction: int = 1) -> Image.Image:
    image = open_image(body, Limits())
    if reduction > 1:
        image.reduce(reduction)
    return read_pixels(image)


def test_as_many_scans_as_an_encoder_may_make_are_read() -> None:
    with Image.open(BytesIO(repeated(MAX_SCANS))) as expected:
        assert np.array_equal(np.asarray(load(repeated(MAX_SCANS))), np.asarray(expected))


@pytest.mark.parametrize("between", [b"", b"\xff\xfe\0\6" + END + b"\0\0", b"\xff\xff\xff"])
def test_more_scans_are_refused(between: bytes) -> None:
    with pytest.raises(BrokenImageError, match=r"more than 100 scans.*Encode it again"):
        load(repeated(MAX_SCANS + 1, between))


@pytest.mark.parametrize("reduction", [1, 8])
def test_the_more_pixels_an_image_has_the_fewer_scans_are_read(reduction: int) -> None:
    large = encode(Image.new("L", (8000, 8000), 200), "JPEG", progressive=True)
    most = MAX_PASSED_PIXELS // 8000**2

    pixels = load(repeated(most, of=large), reduction)

    assert np.asarray(pixels.resize((8, 8))).mean() == pytest.approx(200, abs=2)
    with pytest.raises(BrokenImageError, match=f"more than {most} scans"):
        load(repeated(most + 1, of=large), reduction)


def test_a_baseline_jpeg_with_many_scans_is_refused() -> None:
    gray = encode(Image.new("L", (16, 16)), "JPEG")
    start = gray.find(SCAN)
    three = encode(Image.new("RGB", (16, 16)), "JPEG", subsampling=0)
    first = (
        SCAN + b"\0\x08\1\1\0\0\x3f\0" + gray[start + 10 : -2]
    )  # of the first of three components
    with pytest.raises(BrokenImageError, match="more than 100 scans"):
        load(three[: three.find(SCAN)] + first * (MAX_SCANS + 1) + END)


@pytest.mark.parametrize("progressive", [False, True])
def test_what_looks_like_scans_in_a_comment_or_behind_the_image_is_none(
    *, progressive: bool
) -> None:
    body = encode(IMAGE, "JPEG", progressive=progressive)
    comment = b"\xff\xfe\x01\x92" + SCAN * 200
    with Image.open(BytesIO(body)) as expected:
        for same in (body[:2] + comment + body[2:], body + SCAN * 200):
            assert np.array_equal(np.asarray(load(same)), np.asarray(expected))
