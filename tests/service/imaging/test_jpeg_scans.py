"""JPEGs with many scans: each one costs a pass over all pixels, whatever its size."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.jpeg_scans import MAX_SCANS
from tests.images import encode, photograph

SCAN, TABLE, END = b"\xff\xda", b"\xff\xc4", b"\xff\xd9"
IMAGE = Image.open(BytesIO(photograph("coffee"))).resize((48, 32))
JPEG = encode(IMAGE, "JPEG", progressive=True)
LAST = JPEG[JPEG.rfind(TABLE, 0, JPEG.rfind(SCAN)) : -2]
"""The last scan, with its tables; a decoder lets it come again."""


def repeated(scans: int, between: bytes = b"") -> bytes:
    return JPEG[:-2] + (between + LAST) * (scans - JPEG.count(SCAN)) + END


def load(body: bytes) -> Image.Image:
    return read_pixels(open_image(body, Limits()))


def test_as_many_scans_as_an_encoder_may_make_are_read() -> None:
    with Image.open(BytesIO(repeated(MAX_SCANS))) as expected:
        assert np.array_equal(np.asarray(load(repeated(MAX_SCANS))), np.asarray(expected))


@pytest.mark.parametrize("between", [b"", b"\xff\xfe\0\6" + END + b"\0\0", b"\xff\xff\xff"])
def test_more_scans_are_refused(between: bytes) -> None:
    with pytest.raises(BrokenImageError, match=r"more than 100 scans.*Encode it again"):
        load(repeated(MAX_SCANS + 1, between))


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
