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
    with pytest.raises(BrokenImageError, match=r"cut short|ends too early"):
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


END = b"\xff\xd9"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_jpeg_that_was_cut_and_closed_is_refused(kind: str, share: float) -> None:
    body = jpeg(kind)
    scan = body.find(b"\xff\xda")
    last = body.rfind(b"\xff\xda")  # in the last scan of several, only zeros are found
    cut = scan + 14 + round(((last if last > scan else len(body)) - scan - 14) * share)
    zeros = bytes(len(body) - cut - 2)
    for closed in (body[:cut] + END, body[:cut] + zeros + END, body[:cut] + END + zeros):
        with pytest.raises(BrokenImageError, match="fewer pixels than its header"):
            pixels(closed)
    with pytest.raises(BrokenImageError):
        pixels(body[:cut] + zeros)


@pytest.mark.parametrize("kind", ["progressive", "gray progressive"])
def test_a_last_scan_that_ends_in_zeros_is_refused(kind: str) -> None:
    body = jpeg(kind)
    cut = (body.rfind(b"\xff\xda") + len(body)) // 2
    with pytest.raises(BrokenImageError, match="fewer pixels"):
        pixels(body[:cut] + bytes(len(body) - cut - 2) + END)


@pytest.mark.parametrize("kind", ["progressive", "gray progressive"])
def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(kind: str) -> None:
    body = jpeg(kind)
    scans = [place for place in range(len(body)) if body[place : place + 2] == b"\xff\xda"]
    for place in scans[1:]:
        with pytest.raises(BrokenImageError, match="fewer pixels"):
            pixels(body[: body.rfind(b"\xff\xc4", 0, place)] + END)


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (33, 49), (64, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_gray_image_and_what_stands_behind_a_jpeg_are_no_damage(
    size: tuple[int, int], mode: str, *, progressive: bool
) -> None:
    gray = Image.new("RGB", size, (128, 128, 128)).convert(mode)
    body = encode(gray, "JPEG", progressive=progressive, optimize=True)
    for behind in (b"", bytes(400), b"FUJIFILM", jpeg("baseline")):
        assert pixels(body + behind).shape[:2] == size[::-1]


def test_the_zeros_that_an_encoder_wrote_are_pixels() -> None:
    flat = Image.new("L", (2000, 2000), 7)
    body = encode(flat, "JPEG", optimize=True)
    assert b"\0" * 100 in body[-110:]
    assert pixels(body).max() <= 8
    with pytest.raises(BrokenImageError):
        pixels(body[: len(body) // 2] + END)
