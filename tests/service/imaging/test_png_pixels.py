"""The pixels of PNGs that lack some, or have too many, or the wrong checksum; all written by hand."""

import struct
import zlib

import numpy as np
import pytest

from service.errors import BrokenImageError
from service.imaging import png, png_pixels
from service.imaging.decode import Limits, open_image, read_pixels
from tests.pngs import GRAY, SIGNATURE, chunk, header, packed, stream

LIMITS = Limits()

ROWS = [bytes([row * 8 + column for column in range(4)]) for row in range(8)]
"""Four columns, eight rows; no value is the one that marks a row."""


def gray_png(rows: int, data: bytes, *, count: int = 8, interlaced: bool = False) -> bytes:
    """Return a PNG that says so many rows; its pixels are in `count` chunks."""
    step = -(-len(data) // count)
    chunks = b"".join(chunk(b"IDAT", data[i : i + step]) for i in range(0, len(data), step))
    head = struct.pack(">IIBBBBB", 4, rows, 8, GRAY, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", head) + chunks + chunk(b"IEND")


def all_gray(body: bytes) -> list[list[int]]:
    pixels = np.asarray(read_pixels(open_image(body, LIMITS)))
    rows: list[list[int]] = pixels.tolist()
    return rows


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("missing", [1, 2, 7, 8])
def test_rows_that_the_stream_lacks_refuse_the_image(missing: int, count: int) -> None:
    body = gray_png(8, stream(ROWS[: 8 - missing]), count=count)
    with pytest.raises(BrokenImageError, match="fewer pixels than its header says"):
        read_pixels(open_image(body, LIMITS))


@pytest.mark.parametrize("extra", [1, 2, 8])
def test_rows_behind_the_last_are_not_shown(extra: int) -> None:
    body = gray_png(8, stream(ROWS + ROWS[:extra]))
    assert all_gray(body) == [list(row) for row in ROWS]


@pytest.mark.parametrize("extra", [0, 1, 2, 8])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_a_wrong_checksum_of_the_stream_refuses_the_image(extra: int, count: int) -> None:
    pixels = stream(ROWS + ROWS[:extra])
    body = gray_png(8, pixels[:-1] + bytes([pixels[-1] ^ 1]), count=count)
    with pytest.raises(BrokenImageError, match="checksum"):
        read_pixels(open_image(body, LIMITS))


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_stream_without_its_checksum_is_shown_if_its_chunks_are_sound(missing: int) -> None:
    body = gray_png(8, stream(ROWS)[:-missing])
    assert all_gray(body) == [list(row) for row in ROWS]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("value", [0, 1])
def test_an_image_of_one_value_is_whole(depth: int, value: int) -> None:
    """Its last row may be equal to whatever marks a row."""
    top = 2**depth - 1
    for sample in {value * top, 0xA5 & top, 0xA5A5 & top}:
        rows = [packed([sample] * 8, depth)] * 8
        head = header((8, 8), depth, GRAY)
        body = SIGNATURE + head + chunk(b"IDAT", stream(rows)) + chunk(b"IEND")
        expected = round(sample / top * 255) if depth < 16 else sample >> 8
        assert all(abs(found - expected) <= 1 for row in all_gray(body) for found in row)


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_an_interlaced_image_has_every_row_of_each_pass(lost: int) -> None:
    """Two by two pixels: the first, sixth and seventh pass have rows, of 1, 1 and 2 pixels."""
    rows = [bytes([10]), bytes([20]), bytes([30, 40])]
    data = stream(rows[: 3 - lost] if lost < 3 else [])
    head = struct.pack(">IIBBBBB", 2, 2, 8, GRAY, 0, 0, 1)
    body = SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND")
    if not lost:
        assert all_gray(body) == [[10, 20], [30, 40]]
        return
    with pytest.raises(BrokenImageError, match="fewer pixels"):
        read_pixels(open_image(body, LIMITS))


def test_a_frame_that_is_decoded_without_a_row_behind_it_is_checked_too() -> None:
    whole = png_pixels.PngFrame(png.first_frame(gray_png(8, stream(ROWS))))
    assert np.asarray(png_pixels.load_frame(whole)).tolist() == [list(row) for row in ROWS]
    cut = png_pixels.PngFrame(png.first_frame(gray_png(8, stream(ROWS[:7]))))
    with pytest.raises(BrokenImageError, match="fewer pixels"):
        png_pixels.load_frame(cut)


@pytest.mark.parametrize("interlaced", [False, True])
def test_many_rows_behind_the_last_are_neither_shown_nor_inflated(*, interlaced: bool) -> None:
    """Zeros are the same pixels, and no filter, in any order of rows."""
    rows = [bytes(4)] * 8 if interlaced else ROWS
    body = gray_png(8, stream(rows + [bytes(4)] * 2_000_000), interlaced=interlaced)
    assert all_gray(body) == [list(row) for row in rows]


def test_many_rows_behind_the_last_in_a_damaged_chunk_refuse_the_image() -> None:
    body = gray_png(8, stream(ROWS * 100_000), count=1)
    with pytest.raises(BrokenImageError, match="checksum"):
        all_gray(body[:-14] + bytes([body[-14] ^ 1]) + body[-13:])


@pytest.mark.parametrize(("row", "interlaced"), [(0, False), (3, False), (7, False), (0, True)])
def test_a_row_with_an_unknown_filter_is_named(row: int, *, interlaced: bool) -> None:
    stored = [b"\0" + bytes(4)] * 15  # as many as the passes of an interlaced image need
    stored[row] = b"\x09" + bytes(4)
    data = zlib.compress(b"".join(stored[: 15 if interlaced else 8]))
    with pytest.raises(BrokenImageError, match="a filter that PNG does not have"):
        all_gray(gray_png(8, data, interlaced=interlaced))
