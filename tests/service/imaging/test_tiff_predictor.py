"""TIFFs whose rows are differences of samples that libtiff does not undo; bytes worked out from the specification."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import UnsupportedImageError
from service.imaging.decode import Limits, open_image, read_pixels
from tests.tiffs import DEFLATE, FLOAT, RGB, UNSIGNED, tiff_of

HORIZONTAL, FLOATING_POINT = 2, 3
FORMS = {"f": FLOAT, "u": UNSIGNED}


def shown(body: bytes) -> list[list[int]]:
    image = read_pixels(open_image(body, Limits()))
    values: list[list[int]] = np.asarray(image).reshape(image.height, -1).tolist()
    return values


def tags(kind: str, predictor: int, width: int, samples: int) -> dict[int, int | tuple[int, ...]]:
    bits = 8 * np.dtype(kind).itemsize
    color = {262: RGB, 277: samples} if samples > 1 else {}
    return {256: width, 258: (bits,) * samples, 317: predictor, 339: FORMS[kind[0]], **color}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        # 1.0, 0.5 and 1.0 are 3ff0…, 3fe0… and 3ff0…: the first bytes, the second ones, then zeros, as differences.
        ("f8", "3f0000 b1f010 100000" + "000000" * 5),
        ("f4", "3f0000 418080 800000 000000"),
        ("f2", "3cfc04 c40000"),
    ],
)
def test_differences_of_the_bytes_of_floats(kind: str, row: str, order: str) -> None:
    stored = bytes.fromhex(row)
    body = tiff_of([stored] * 2, tags(kind, FLOATING_POINT, 3, 1), order=order, compression=DEFLATE)
    assert shown(body) == [[255, 128, 255]] * 2


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "u4", "u8"])
def test_differences_of_the_samples_of_rgb(kind: str, order: str) -> None:
    top = np.iinfo(kind).max
    stored = struct.pack(
        order + "6" + {"u2": "H", "u4": "L", "u8": "Q"}[kind], 0, top, 0, top, 1, 0
    )  # black but for green, then + white = red, which wraps
    body = tiff_of(
        [stored] * 3,
        tags(kind, HORIZONTAL, 2, 3),
        order=order,
        compression=DEFLATE,
        rows_per_strip=2,
    )
    assert shown(body) == [[0, 255, 0, 255, 0, 0]] * 3


def encoded(tile: NDArray[np.float64]) -> bytes:
    """Return a tile of gray float64 as Technical Note 3 says: byte by byte, in Python's own integers."""
    rows = []
    for row in tile:
        words = [struct.pack(">d", value) for value in row]
        planes = [word[place] for place in range(8) for word in words]
        rows.append(
            bytes((byte - before) % 256 for byte, before in zip(planes, [0, *planes], strict=False))
        )
    return b"".join(rows)


@pytest.mark.parametrize("order", "<>")
def test_tiles_that_are_wider_than_the_image(order: str) -> None:
    values = np.arange(20 * 32).reshape(20, 32) / (20 * 32)
    values[0, 0] = 1
    image = values[:, :27]
    padded = np.zeros((32, 32))
    padded[:20, :27] = image
    tiles = [
        zlib.compress(encoded(padded[top : top + 16, left : left + 16]))
        for top in (0, 16)
        for left in (0, 16)
    ]
    sizes = tuple(map(len, tiles))
    common: dict[int, int | tuple[int, ...]] = {
        **tags("f8", FLOATING_POINT, 27, 1),
        257: 20,
        322: 16,
        323: 16,
        273: (),
        278: (),
        279: (),
        325: sizes,
    }
    head = len(tiff_of([], {**common, 324: sizes}, rows_per_strip=1, is_directory_first=True))
    places = tuple(head + sum(sizes[:number]) for number in range(4))
    directory = tiff_of(
        [],
        {**common, 324: places},
        order=order,
        compression=DEFLATE,
        rows_per_strip=1,
        is_directory_first=True,
    )
    found = np.array(shown(directory + b"".join(tiles)))
    assert np.abs(found - image * 255).max() <= 0.5


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("u8", {317: FLOATING_POINT}),  # of floats only
        ("f8", {317: 34}),  # unknown
        (
            "f8",
            {317: FLOATING_POINT, 257: 900_000, 322: 65536, 323: 16, 324: (8,), 325: (8,)},
        ),  # 440 GB of padding
    ],
)
def test_a_predictor_that_is_not_read_is_refused(
    kind: str, changed: dict[int, int | tuple[int, ...]]
) -> None:
    with pytest.raises(UnsupportedImageError, match="which is not read"):
        shown(tiff_of([bytes(8)], {**tags(kind, 1, 1, 1), **changed}, compression=DEFLATE))
