"""Strips of TIFFs that libtiff takes for whole: cut, zeroed, or with a wrong checksum."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from service.errors import BrokenImageError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.tiff_strips import check_strips
from tests.images import encode, photograph
from tests.service.imaging.test_jpeg_scans import repeated
from tests.tiffs import DEFLATE, tiff_of, tiled

LIMITS = Limits()
MODES = {
    "group3": "1",
    "group4": "1",
    "tiff_ccitt": "1",
    "packbits": "1",
    "tiff_lzw": "L",
    "tiff_adobe_deflate": "RGB",
    "jpeg": "RGB",
}


def scan(compression: str) -> bytes:
    image = Image.open(BytesIO(photograph("coffee"))).resize((230, 150))
    return encode(image.convert(MODES[compression]), "TIFF", compression=compression)


def last_strip(body: bytes) -> tuple[int, int]:
    """Return the place and size of the last strip, as Pillow finds them."""
    with Image.open(BytesIO(body)) as image:
        tags = dict(image.tag_v2)  # type: ignore[attr-defined]
    return int(tags[273][-1]), int(tags[279][-1])


def load(body: bytes) -> None:
    read_pixels(open_image(body, LIMITS))


@pytest.mark.parametrize("compression", MODES)
def test_a_whole_strip_is_read(compression: str) -> None:
    body = scan(compression)
    with Image.open(BytesIO(body)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(
        np.asarray(read_pixels(open_image(body, LIMITS)).convert("RGB")), expected
    )


@pytest.mark.parametrize("compression", MODES)
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8])
def test_a_strip_whose_end_is_zeros_is_refused(compression: str, kept: float) -> None:
    body = bytearray(scan(compression))
    place, size = last_strip(bytes(body))
    keep = round(size * kept)
    body[place + keep : place + size] = bytes(size - keep)
    with pytest.raises(BrokenImageError, match=r"fewer pixels than its header says.*Send the"):
        load(bytes(body))


@pytest.mark.parametrize("compression", MODES)
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8])
def test_a_strip_that_ends_early_is_refused(compression: str, kept: float) -> None:
    body = bytearray(scan(compression))
    _, size = last_strip(bytes(body))
    start = struct.unpack_from("<L", body, 4)[0]
    for entry in range(struct.unpack_from("<H", body, start)[0]):
        at = start + 2 + 12 * entry
        tag, kind, count, value = struct.unpack_from("<HHLL", body, at)
        if tag == 279 and count == 1:
            struct.pack_into("<L" if kind == 4 else "<H", body, at + 8, round(size * kept))
        elif tag == 279:
            width = 4 if kind == 4 else 2
            at = value + (count - 1) * width
            struct.pack_into("<L" if kind == 4 else "<H", body, at, round(size * kept))
    assert last_strip(bytes(body))[1] == round(size * kept)
    with pytest.raises(BrokenImageError, match=r"fewer pixels than its header says.*Send the"):
        load(bytes(body))


def test_a_hole_in_a_g4_strip_is_refused() -> None:
    body = bytearray(scan("group4"))
    place, size = last_strip(bytes(body))
    body[place + size // 4 : place + size // 2] = bytes(size // 2 - size // 4)
    with pytest.raises(BrokenImageError):
        load(bytes(body))


@pytest.mark.parametrize("rows_per_strip", [3, 8])
def test_the_checksum_of_each_deflate_strip_is_compared(rows_per_strip: int) -> None:
    rows = [bytes(range(place, place + 64)) for place in range(8)]
    body = tiff_of(rows, {256: 64, 258: 8}, compression=DEFLATE, rows_per_strip=rows_per_strip)
    assert np.asarray(read_pixels(open_image(body, LIMITS))).tolist() == [list(row) for row in rows]
    with Image.open(BytesIO(body)) as image:
        places, sizes = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    for place, size in zip(places, sizes, strict=True):
        hurt = bytearray(body)
        hurt[place + size - 1] ^= 1
        with pytest.raises(BrokenImageError, match="wrong checksum"):
            load(bytes(hurt))


def test_a_deflate_strip_without_its_checksum_is_read() -> None:
    rows = [bytes(range(place, place + 64)) for place in range(8)]
    body = bytearray(tiff_of(rows, {256: 64, 258: 8}, compression=DEFLATE))
    start = struct.unpack_from("<L", body, 4)[0]
    for entry in range(struct.unpack_from("<H", body, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", body, at)[0] == 279:
            struct.pack_into("<L", body, at + 8, struct.unpack_from("<L", body, at + 8)[0] - 4)
    found = np.asarray(read_pixels(open_image(bytes(body), LIMITS))).tolist()
    assert found == [list(row) for row in rows]


def test_a_deflate_tile_may_be_far_larger_than_the_image() -> None:
    shown = np.arange(20 * 20, dtype=np.uint8).reshape(20, 20)
    tile = zlib.compress(np.pad(shown, ((0, 492), (0, 492))).tobytes())
    tags: dict[int, int | tuple[int, ...]] = {256: 20, 257: 20, 258: 8, 322: 512, 323: 512}
    tags |= {273: (), 278: (), 279: (), 325: len(tile)}

    def tiled(place: int) -> bytes:
        return tiff_of([], {**tags, 324: place}, compression=DEFLATE, rows_per_strip=1)

    body = tiled(len(tiled(0))) + tile
    assert np.array_equal(np.asarray(read_pixels(open_image(body, LIMITS))), shown)
    hurt = body[:-1] + bytes((body[-1] ^ 1,))
    with pytest.raises(BrokenImageError, match="wrong checksum"):
        load(hurt)


def test_a_jpeg_strip_with_far_more_pixels_than_its_place_is_refused() -> None:
    large = encode(Image.new("L", (640, 480), 90), "JPEG")

    def strip(side: int) -> bytes:
        tags: dict[int, int | tuple[int, ...]] = {256: side, 257: side, 258: 8, 278: side}
        tags |= {259: 7, 273: 8, 279: len(large)}
        return tiff_of([large], tags, rows_per_strip=1)

    with pytest.raises(BrokenImageError, match="a strip of it"):
        load(strip(64))


def test_strips_that_the_image_does_not_need_are_not_looked_at() -> None:
    data = zlib.compress(bytes(64))
    places: dict[int, int | tuple[int, ...]] = {273: (8,) * 50_000, 279: (len(data),) * 50_000}
    body = tiff_of([bytes(64)], {256: 64, 258: 8, **places}, compression=DEFLATE)
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    file = TiffImageFile(BytesIO(body))
    check_strips(file, body, count)
    assert 0 < calls < 10


JPEG = 7


def test_the_scans_of_all_jpeg_tiles_are_counted_together() -> None:
    tile = repeated(99, of=encode(Image.new("L", (1024, 1024), 90), "JPEG", progressive=True))

    few = tiled((2 * 1024, 1024), (1024, 1024), tile, compression=JPEG)
    assert np.asarray(read_pixels(open_image(few, LIMITS))).mean() == pytest.approx(90, abs=2)
    with pytest.raises(BrokenImageError, match="too many scans together"):
        load(tiled((16 * 1024, 1024), (1024, 1024), tile, compression=JPEG))


def test_jpeg_tiles_that_lie_over_each_other_are_not_searched_one_by_one() -> None:
    tile = encode(Image.new("L", (64, 64), 90), "JPEG") + bytes(10_000)
    sizes = {325: tuple(len(tile) - index for index in range(64))}
    with pytest.raises(BrokenImageError, match="lie over each other"):
        load(tiled((8 * 64, 8 * 64), (64, 64), tile, compression=JPEG, tags=sizes))
