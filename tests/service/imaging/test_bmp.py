"""BMPs written by hand; the expected colors are what Chromium displays on a white page."""

import struct

import numpy as np
import pytest
from PIL.BmpImagePlugin import BmpImageFile

from service.errors import BrokenImageError, TooManyPixelsError, UnsupportedImageError
from service.imaging.bmp import MOST_CODES, load_run_lengths
from service.imaging.decode import Limits, open_image, read_pixels
from tests.bmps import (
    BIT_FIELDS,
    BLACK,
    PALETTE,
    RGB,
    RLE4,
    RLE8,
    V1,
    V3,
    V4,
    V5,
    B,
    G,
    R,
    T,
    bmp_of,
    shown,
)

MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
PIXELS = struct.pack("<4I", 0x80FF0000, 0xFF00FF00, 0x000000FF, 0x40808080)


def rle(compression: int, size: tuple[int, int], *codes: int) -> bytes:
    bits = 8 if compression == RLE8 else 4
    return bmp_of(V1, size, bits, compression, bytes(codes), palette=PALETTE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            rle(RLE8, (4, 3), 2, 1, 0, 2, 1, 1, 1, 2, 0, 0, 2, 3, 0, 1),
            f"{T} {T} {BLACK} {BLACK} | {BLACK} {BLACK} {BLACK} {B} | {G} {G} {BLACK} {BLACK}",
        ),
        (
            rle(RLE8, (4, 3), 0, 4, 0, 1, 2, 3, 0, 0, 0, 3, 3, 2, 1, 0, 0, 0, 4, 1, 0, 0, 0, 1),
            f"{G} {G} {G} {G} | {T} {B} {G} {BLACK} | {R} {G} {B} {T}",
        ),
        (rle(RLE8, (4, 2), 4, 1, 0, 1), f"{BLACK} {BLACK} {BLACK} {BLACK} | {G} {G} {G} {G}"),
        (rle(RLE8, (4, 2), 9, 1, 0, 0, 4, 2, 0, 1), f"{B} {B} {B} {B} | {G} {G} {G} {G}"),
        (rle(RLE8, (4, -2), 4, 1, 0, 0, 4, 2, 0, 1), f"{G} {G} {G} {G} | {B} {B} {B} {B}"),
        (rle(RLE8, (4, 1), 2, 1, 2, 9, 0, 1), f"{G} {G} {BLACK} {BLACK}"),
        (rle(RLE8, (4, 1), 4, 1), f"{G} {G} {G} {G}"),
        (
            rle(RLE4, (4, 3), 3, 0x12, 0, 2, 0, 1, 1, 0x20, 0, 0, 4, 0x30, 0, 1),
            f"{T} {R} {T} {R} | {BLACK} {BLACK} {BLACK} {B} | {G} {B} {G} {BLACK}",
        ),
        (
            rle(RLE4, (5, 2), 0, 5, 0x01, 0x23, 0x10, 0, 0, 0, 5, 0x12, 0, 1),
            f"{G} {B} {G} {B} {G} | {R} {G} {B} {T} {G}",
        ),
    ],
)
def test_run_lengths_with_gaps(body: bytes, expected: str) -> None:
    assert shown(body) == expected


def test_run_lengths_of_gray_and_of_two_colors() -> None:
    gray = b"".join(bytes((level, level, level, 0)) for level in range(256))
    body = bmp_of(V1, (3, 1), 8, RLE8, bytes((2, 200, 0, 2, 1, 0, 0, 1)), palette=gray)
    assert shown(body) == f"c8c8c8 c8c8c8 {BLACK}"
    two = bytes(4) + b"\xff\xff\xff\0"
    body = bmp_of(V1, (3, 1), 8, RLE8, bytes((2, 1, 1, 0, 0, 1)), palette=two)
    assert shown(body) == f"ffffff ffffff {BLACK}"


@pytest.mark.parametrize("codes", [(4, 1, 0, 0, 2, 2), (4, 1, 0), (0, 4, 1), (4, 1, 0, 2, 0, 1)])
def test_run_lengths_that_end_early_are_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(BrokenImageError, match="fewer pixels than its header says"):
        shown(rle(RLE8, (4, 3), *codes))


@pytest.mark.parametrize("header", [V4, V5])
@pytest.mark.parametrize("alpha", [0xFF000000, 0x7F000000])
def test_the_alpha_that_a_later_header_declares_is_used(header: int, alpha: int) -> None:
    body = bmp_of(header, (2, 2), 32, RGB, PIXELS, (*MASKS[:3], alpha))
    assert shown(body) == "ffffff dfdfdf | ff7f7f 00ff00"


@pytest.mark.parametrize(
    ("header", "masks"), [(V1, ()), (V3, MASKS), (V5, (*MASKS[:3], 0)), (V5, ())]
)
def test_without_a_mask_of_alpha_the_fourth_byte_is_none(
    header: int, masks: tuple[int, ...]
) -> None:
    assert shown(bmp_of(header, (2, 2), 32, RGB, PIXELS, masks)) == f"{B} 808080 | {R} {G}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (bmp_of(V1, (2, 2), 24, 4, b""), "a JPEG within a BMP"),
        (bmp_of(V1, (2, 2), 24, 9, b""), "24 bits per pixel of compression 9"),
        (bmp_of(V1, (2, 2), 32, BIT_FIELDS, PIXELS, (5, 2, 8)), "bit fields with gaps"),
        (bmp_of(V1, (2, 2), 7, RGB, PIXELS), "7 bits per pixel"),
    ],
)
def test_another_kind_is_named_with_what_to_send(body: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImageError, match=rf"{says}.*Send it with 24 bits per pixel"):
        shown(body)


@pytest.mark.parametrize("height", [3, -3])
def test_what_run_lengths_leave_out_is_black_where_no_color_of_the_palette_is(height: int) -> None:
    palette = b"".join(bytes((255 - index // 2, index, 9, 0)) for index in range(256))
    codes = bytes((1, 8, 0, 2, 1, 1, 1, 4, 0, 0, 0, 1))
    body = bmp_of(V1, (3, height), 8, RLE8, codes, palette=palette)
    row = [f"0908fb {BLACK} {BLACK}", f"{BLACK} {BLACK} 0904fd", f"{BLACK} {BLACK} {BLACK}"]
    assert shown(body) == " | ".join(row if height < 0 else row[::-1])


@pytest.mark.parametrize("code", [(0, 0), (0, 2, 0, 0), (0, 3, 1, 1, 1, 0)])
def test_run_lengths_are_read_up_to_a_number(code: tuple[int, ...]) -> None:
    """In 20 MB are five million gaps of no pixels, which cost seconds where nothing bounds them."""
    body = rle(RLE8, (4, 100), *code * 49, 0, 1)
    file = open_image(body, Limits()).file
    assert isinstance(file, BmpImageFile)
    assert load_run_lengths(file, body, most_codes=50).size == (4, 100)
    with pytest.raises(TooManyPixelsError, match="Send it without compression, or as PNG"):
        load_run_lengths(file, body, most_codes=49)


@pytest.mark.parametrize(("count", "counted"), [(15, 15), (16, 16), (3000, 16)])
def test_a_long_series_of_run_lengths_counts_as_sixteen(count: int, counted: int) -> None:
    body = rle(RLE8, (4, 1), *(1, 1) * count, 0, 1)
    file = open_image(body, Limits()).file
    assert isinstance(file, BmpImageFile)
    load_run_lengths(file, body, most_codes=counted + 1)
    with pytest.raises(TooManyPixelsError):
        load_run_lengths(file, body, most_codes=counted)


@pytest.mark.parametrize("form", [RLE8, RLE4])
@pytest.mark.parametrize("seed", range(8))
def test_a_series_of_run_lengths_is_what_each_of_them_is(form: int, seed: int) -> None:
    """Some encoders write a run length for almost each pixel of a photograph: they are decoded together."""
    random = np.random.default_rng(seed)
    rows, codes = [], list[int]()
    for _ in range(6):
        row = list[int]()
        for _ in range(int(random.integers(0, 60))):
            count, value = int(random.integers(1, 5)), int(random.integers(0, 256))
            codes += [count, value]
            nibbles = ((value >> 4, value & 15) * count)[:count]
            row += nibbles if form == RLE4 else [value] * count
        codes += [0, 0]
        rows.append((row + [4] * 80)[:80])  # behind the palette: black
    body = bmp_of(
        V1, (80, 6), 8 if form == RLE8 else 4, form, bytes((*codes, 0, 1)), palette=PALETTE
    )
    file = open_image(body, Limits()).file
    assert isinstance(file, BmpImageFile)
    assert np.array_equal(np.asarray(load_run_lengths(file, body)), np.array(rows[::-1], np.uint8))


def test_a_run_length_for_each_pixel_of_a_photograph_is_read() -> None:
    width, height = 4000, 400
    pixels = np.random.default_rng(1).integers(0, 256, (height, width), np.uint8)
    pairs = np.stack([np.ones_like(pixels), pixels], axis=-1).reshape(height, -1)
    codes = np.pad(pairs, ((0, 0), (0, 2))).tobytes() + b"\0\1"
    assert width * height > MOST_CODES
    grays = b"".join(bytes((level, level, level, 0)) for level in range(256))
    body = bmp_of(V1, (width, height), 8, RLE8, codes, palette=grays)
    assert np.array_equal(
        np.asarray(read_pixels(open_image(body, Limits())).convert("L")), pixels[::-1]
    )
