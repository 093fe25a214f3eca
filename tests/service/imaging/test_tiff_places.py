"""TIFFs whose directory is before the pixels, cut at their end, and with wrong places: no byte behind is a pixel."""

import struct
import warnings

import numpy as np
import pytest

from service.errors import BrokenImageError, FovealError
from service.imaging.decode import Limits, open_image, read_pixels
from tests.tiffs import DEFLATE, FLOAT, NO_COMPRESSION, PACKBITS, RGB, SIGNED, UNSIGNED, tiff_of

LIMITS = Limits()
SIZE = (32, 21)
KINDS = {
    "u1": (UNSIGNED, 8),
    "i1": (SIGNED, 8),
    "u2": (UNSIGNED, 16),
    "i2": (SIGNED, 16),
    "f2": (FLOAT, 16),
    "u4": (UNSIGNED, 32),
    "i4": (SIGNED, 32),
    "f4": (FLOAT, 32),
    "u8": (UNSIGNED, 64),
    "f8": (FLOAT, 64),
}


def mean(body: bytes) -> float:
    return float(np.asarray(read_pixels(open_image(body, LIMITS))).mean())


def gray(kind: str, order: str = "<", compression: int = NO_COMPRESSION, **places: int) -> bytes:
    width, height = SIZE
    form, bits = KINDS[kind]
    row = np.full(width, 1 if kind[0] == "f" else np.iinfo(kind).max, order + kind).tobytes()
    tags = {256: width, 258: bits, 339: form, **{int(tag[1:]): n for tag, n in places.items()}}
    return tiff_of(
        [row] * height,
        tags,
        order=order,
        compression=compression,
        rows_per_strip=5,
        is_directory_first=True,
    )


@pytest.mark.parametrize("cut", [2, 16, 100, 300])
@pytest.mark.parametrize("compression", [NO_COMPRESSION, PACKBITS, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_its_last_bytes_is_refused(
    kind: str, order: str, compression: int, cut: int
) -> None:
    body = gray(kind, order, compression)
    assert mean(body) == 255
    with pytest.raises(BrokenImageError, match="Send the whole file"):
        mean(body[: -min(cut, 8) if compression == DEFLATE else -cut])


@pytest.mark.parametrize("cut", [1, 8, 40])
@pytest.mark.parametrize(
    ("tags", "row_bytes", "rows"),
    [
        ({256: 32, 258: 10}, 40, 21),
        ({256: 32, 258: 12}, 48, 21),
        ({256: 32, 258: (16, 16), 277: 2, 338: 2}, 128, 21),
        ({256: 32, 258: (16, 16), 277: 2, 338: 1}, 128, 21),
        ({256: 32, 257: 7, 258: (16,) * 3, 277: 3, 262: RGB, 284: 2}, 64, 21),
        ({256: 32, 257: 7, 258: (32,) * 3, 277: 3, 262: RGB, 284: 2}, 128, 21),
        ({256: 32, 258: (32,) * 3, 277: 3, 262: RGB}, 384, 21),
        ({256: 32, 258: 16, 262: 0}, 64, 21),
    ],
)
def test_packed_transparent_and_planar_samples_are_refused_as_well(
    tags: dict[int, int | tuple[int, ...]], row_bytes: int, rows: int, cut: int
) -> None:
    body = tiff_of([b"\xff" * row_bytes] * rows, tags, rows_per_strip=7, is_directory_first=True)
    mean(body)
    with pytest.raises(BrokenImageError, match="end before all of its pixels"):
        mean(body[:-cut])


@pytest.mark.parametrize("cut", [1, 64, 600])
def test_a_cut_tile_is_refused(cut: int) -> None:
    tiles: dict[int, int | tuple[int, ...]] = {
        256: 32,
        257: 32,
        258: 16,
        322: 16,
        323: 16,
        273: (),
        278: (),
        279: (),
    }
    size = 2 * 16 * 16
    start = len(
        tiff_of(
            [],
            {**tiles, 324: (0,) * 4, 325: (size,) * 4},
            rows_per_strip=1,
            is_directory_first=True,
        )
    )
    places = tuple(start + number * size for number in range(4))
    head = tiff_of(
        [], {**tiles, 324: places, 325: (size,) * 4}, rows_per_strip=1, is_directory_first=True
    )
    body = head + b"\xff" * (4 * size)
    assert mean(body) == 255
    with pytest.raises(BrokenImageError, match="end before all of its pixels"):
        mean(body[:-cut])


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_too_few_strips_are_refused_before_anything_is_made_for_them(kind: str) -> None:
    for height in (26, 900_000):
        with pytest.raises(BrokenImageError, match="end before all of its pixels"):
            mean(gray(kind, _257=height))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_strip_that_says_to_be_shorter_than_its_rows_is_refused(kind: str) -> None:
    width, height = SIZE
    itemsize = np.dtype(kind).itemsize
    row = b"\xff" * width * itemsize
    counts = (5 * len(row),) * 3 + (5 * len(row) - itemsize, len(row))
    form, bits = KINDS[kind]
    with pytest.raises(BrokenImageError, match="end before all of its pixels"):
        mean(
            tiff_of(
                [row] * height, {256: width, 258: bits, 339: form, 279: counts}, rows_per_strip=5
            )
        )


def test_a_single_strip_without_compression_is_read_whatever_its_count_says() -> None:
    body = tiff_of([b"\xff" * 16] * 4, {256: 8, 258: 16, 279: 3})
    assert mean(body) == 255


NUMBERS = {
    "a half": struct.pack("<Hlf", 11, 1, 0.5),
    "infinite": struct.pack("<Hlf", 11, 1, float("inf")),
    "no number": struct.pack("<Hlf", 11, 1, float("nan")),
    "minus one": struct.pack("<Hll", 9, 1, -1),
    "zero": struct.pack("<HlL", 4, 1, 0),
    "most": struct.pack("<HlL", 4, 1, 2**32 - 1),
    "text": struct.pack("<Hl4s", 2, 4, b"abc\0"),
    "none": struct.pack("<HlL", 4, 0, 8),
    "two": struct.pack("<HlHH", 3, 2, 1, 1),
}


@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("tag", [256, 257, 258, 259, 262, 277, 278, 279, 284, 317, 322, 323, 339])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_strange_number_in_a_tag_is_read_or_refused(
    number: str, tag: int, kind: str, compression: int
) -> None:
    body = bytearray(gray(kind, compression=compression, _317=1, _284=1))
    place = [body.find(struct.pack("<HH", one, form), 8) for one in (tag, 278) for form in (3, 4)]
    at = next(found for found in place if found >= 0)
    body[at : at + 12] = struct.pack("<H", tag) + NUMBERS[number]
    try:
        with warnings.catch_warnings(action="ignore"):
            assert read_pixels(open_image(bytes(body), LIMITS)).mode in {"L", "RGB"}
    except FovealError as error:
        assert error.status < 500
