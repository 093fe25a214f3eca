"""JPEGs with very much between their segments, or very many of them: read or refused, and quickly."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.announced import read_header
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.jpeg_header import without_filling, without_long_fill
from tests.images import encode, photograph

JPEG = encode(Image.open(BytesIO(photograph("coffee"))).resize((48, 32)).convert("RGB"), "JPEG")
HEAD, REST = JPEG[:2], JPEG[2:]
LENGTH = 400_000


@pytest.mark.parametrize("between", [b"\xff", b"\0", b"\xff\0", b"abc\xff\xff\0"])
def test_what_is_between_segments_is_skipped_and_not_given_to_a_reader(between: bytes) -> None:
    body = HEAD + between * LENGTH + REST
    assert without_filling(body) == JPEG
    assert read_header(body).pixels == 48 * 32
    with Image.open(BytesIO(JPEG)) as expected:
        found = np.asarray(read_pixels(open_image(body, Limits())))
        assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("segment", [b"\xff\xfe\0\2", b"\xff\xe1\0\2", b"\xff\xd0"])
def test_more_segments_than_any_file_has_are_refused(segment: bytes) -> None:
    body = HEAD + segment * LENGTH + REST
    with pytest.raises(BrokenImageError, match=r"more than 20000 segments.*Encode it again"):
        open_image(body, Limits())
    assert read_header(body).pixels == 0


def test_a_file_of_filling_alone_is_refused() -> None:
    assert len(without_filling(HEAD + b"\xff" * LENGTH)) < 100
    with pytest.raises(BrokenImageError, match="The JPEG can not be read"):
        open_image(HEAD + b"\xff" * LENGTH, Limits())


def test_an_ordinary_file_is_not_copied() -> None:
    comments = HEAD + (b"\xff\xfe\xff\xff" + b"\xff" * 65533) * 3 + REST
    assert without_filling(comments) is comments
    assert without_filling(JPEG) is JPEG


def test_the_content_of_a_segment_is_no_filling() -> None:
    comment = b"\xff\xfe\xff\xff" + b"\xff" * 65533
    assert without_long_fill(HEAD + comment * 3 + REST) == HEAD + comment * 3 + REST
    assert len(without_long_fill(JPEG[:-2] + b"\xff" * 1_000_000)) == len(JPEG) - 2 + (1 << 16)


@pytest.mark.parametrize(
    "marker", [b"\xff\x02", b"\xff\xbf", b"\xff\xc8", b"\xff\xf0", b"\xff\xfd"]
)
def test_a_large_file_with_a_reserved_marker_is_refused_at_the_first(marker: bytes) -> None:
    """Pillow goes through millions of some of them one by one, and libjpeg then takes none."""
    body = HEAD + marker * LENGTH + REST
    with pytest.raises(BrokenImageError, match="The JPEG can not be read"):
        without_filling(body)
    assert read_header(body).pixels == 0
