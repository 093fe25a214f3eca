"""Small files as users of other services sent them; expected colors are what Chromium displays on a white page.

For TIFF, which browsers do not display, they are worked out from the stored samples and the specification.
"""

from pathlib import Path

import numpy as np
import pytest

from service.card import ImageInput
from service.errors import BrokenImageError, ImageError, UnsupportedImageError
from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.resize import fit_encoded
from service.imaging.source_image import SourceImage

CASES = Path(__file__).parents[2] / "data" / "cases"
LIMITS = Limits()

WHITE, BLUE, GREEN = (255, 255, 255), (40, 60, 210), (30, 190, 60)
WHOLE = [((0, 0), WHITE), ((24, 0), GREEN), ((0, 16), BLUE), ((16, 16), BLUE), ((47, 31), WHITE)]
SHOWN: dict[str, tuple[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int, int]]]]] = {
    "ztxt-1mb.png": ((48, 32), WHOLE),
    "iccp-1mb.png": ((48, 32), WHOLE),
    "crc-text.png": ((48, 32), WHOLE),
    "apng-hidden-default.png": ((48, 32), WHOLE),
    "dng-like.tif": ((48, 32), WHOLE),
    "no-eoi.jpg": ((48, 32), WHOLE[:4]),
    "no-eoi-progressive.jpg": ((48, 32), WHOLE),
    "xmp6-only.jpg": ((48, 32), WHOLE),
    "grey16-trns.png": ((64, 16), [((0, 0), WHITE), ((0, 8), (0,) * 3), ((21, 8), (85,) * 3)]),
    "grey2-trns.png": ((32, 16), [((0, 0), WHITE), ((0, 8), (0,) * 3), ((31, 15), WHITE)]),
    "grey4-trns.png": ((32, 16), [((0, 0), WHITE), ((0, 8), (0,) * 3), ((31, 15), WHITE)]),
    "first-small.gif": ((24, 16), [((0, 0), (0, 0, 255)), ((12, 0), WHITE), ((23, 15), WHITE)]),
    "first-offset.gif": ((24, 16), [((0, 0), WHITE), ((8, 8), WHITE), ((23, 15), WHITE)]),
    "4444.bmp": ((24, 16), [((0, 0), (255, 119, 119)), ((12, 8), (0, 255, 0))]),
    "rgb-float.tif": ((48, 32), [*WHOLE[:1], ((30, 20), (230, 200, 40)), ((47, 31), WHITE)]),
    # 32768, 0, 20805 and 65535 of 65535, white is zero.
    "grey16-whiteiszero.tif": (
        (64, 16),
        [((0, 0), (127,) * 3), ((0, 8), WHITE), ((20, 8), (174,) * 3), ((63, 15), (0,) * 3)],
    ),
    "float-1-whiteiszero.tif": (
        (64, 16),
        [((0, 0), (127,) * 3), ((0, 8), WHITE), ((20, 8), (174,) * 3), ((63, 15), (0,) * 3)],
    ),
    "float-65535.tif": (
        (64, 16),
        [((0, 0), (128,) * 3), ((0, 8), (0,) * 3), ((20, 8), (81,) * 3), ((63, 15), WHITE)],
    ),
    "float-1-inf.tif": (
        (64, 16),
        [((0, 0), (0,) * 3), ((1, 0), WHITE), ((2, 0), (128,) * 3), ((20, 8), (81,) * 3)],
    ),
    # 2048, 0, 1300 and 4095 of 4095.
    "grey12.tif": (
        (64, 16),
        [((0, 0), (128,) * 3), ((0, 8), (0,) * 3), ((20, 8), (81,) * 3), ((63, 15), WHITE)],
    ),
    "uint32.tif": (
        (64, 16),
        [((0, 0), (128,) * 3), ((0, 8), (0,) * 3), ((20, 8), (81,) * 3), ((63, 15), WHITE)],
    ),
}

REFUSED: dict[str, tuple[type[ImageError], str]] = {
    "damaged-idat.png": (BrokenImageError, "checksum"),
    "cgbi.png": (BrokenImageError, "CgBI"),
    "cut30.png": (BrokenImageError, "ends after 30 bytes"),
    "cut.avif": (BrokenImageError, "AVIF"),
    "sof-12bit.jpg": (UnsupportedImageError, "12 bits per sample, and 8 are read"),
}


IMAGE_SUFFIXES = {".png", ".jpg", ".tif", ".bmp", ".avif", ".webp"}


def test_every_case_has_an_expectation() -> None:
    images = {path.name for path in CASES.iterdir() if path.suffix in IMAGE_SUFFIXES}
    assert images <= {*SHOWN, *REFUSED}
    assert {*SHOWN, *REFUSED} <= {path.name for path in CASES.iterdir()}


@pytest.mark.parametrize("name", SHOWN)
def test_an_image_is_read_as_it_is_displayed(name: str) -> None:
    size, points = SHOWN[name]
    image = open_image((CASES / name).read_bytes(), LIMITS)
    assert orientation(image) is None
    pixels = read_pixels(image).convert("RGB")
    assert pixels.size == size
    found = np.asarray(pixels).astype(int)
    for (x, y), color in points:
        assert np.abs(found[y, x] - color).max() <= (3 if name.endswith(".jpg") else 1), (x, y)


@pytest.mark.parametrize("name", SHOWN)
def test_the_network_and_the_drawing_get_the_same_canvas(name: str) -> None:
    body = (CASES / name).read_bytes()
    width, height = SHOWN[name][0]
    target = ImageInput(height=height, width=width, resize="stretch")
    frame, geometry = fit_encoded(body, target, LIMITS)
    displayed = SourceImage(body, geometry, LIMITS).displayed()
    assert (geometry.width, geometry.height) == displayed.size == (width, height)
    assert np.array_equal(frame, np.asarray(displayed))


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_is_refused_with_what_is_wrong(name: str) -> None:
    kind, reason = REFUSED[name]
    with pytest.raises(kind, match=reason) as caught:
        read_pixels(open_image((CASES / name).read_bytes(), LIMITS))
    assert "end " in str(caught.value)  # Send …
