"""JPEGs that lack their end: intact to the last pixel, or not."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.jpeg_tail import completed
from tests.images import encode, photograph

LIMITS = Limits()
KINDS: dict[str, dict[str, object]] = {
    "baseline": {},
    "no subsampling": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 1},
    "restarts by row": {"restart_marker_rows": 1},
    "gray": {"mode": "L"},
    "gray progressive": {"mode": "L", "progressive": True},
    "CMYK": {"mode": "CMYK"},
    "coarse": {"quality": 20},
}


def jpeg(kind: str) -> bytes:
    options: dict[str, object] = {"quality": 88, **KINDS[kind]}
    mode = str(options.pop("mode", "RGB"))
    image = Image.open(BytesIO(photograph("rocket"))).resize((75, 50)).convert(mode)
    return encode(image, "JPEG", **options)


def pixels(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(read_pixels(open_image(body, LIMITS)))


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_marker_keeps_every_pixel(kind: str, missing: int) -> None:
    body = jpeg(kind)
    assert body.endswith(b"\xff\xd9")
    assert np.array_equal(pixels(body[:-missing]), pixels(body))


@pytest.mark.parametrize("missing", [*range(3, 24), 60, 200, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_pixels_is_refused(kind: str, missing: int) -> None:
    with pytest.raises(BrokenImageError, match=r"cut short|Truncated"):
        pixels(jpeg(kind)[:-missing])


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    body = jpeg("progressive")
    scans = [place for place in range(len(body)) if body[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for place in scans[2:]:
        tables = body.rfind(b"\xff\xc4", 0, place)
        for cut in (place, tables):
            assert completed(body[:cut]) is None


def test_the_reduced_scale_is_kept() -> None:
    image = Image.open(BytesIO(photograph("coffee")))
    body = encode(image, "JPEG")
    whole, cut = open_image(body, LIMITS), open_image(body[:-2], LIMITS)
    assert whole.reduce(4) == cut.reduce(4) == 4
    assert read_pixels(cut).size == (image.width // 4, image.height // 4)
    assert np.array_equal(np.asarray(read_pixels(cut)), np.asarray(read_pixels(whole)))
