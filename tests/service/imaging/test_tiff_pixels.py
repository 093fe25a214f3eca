"""A TIFF's page, or its planes one below the other; the files are written by hand from TIFF 6.0."""

from io import BytesIO

import numpy as np
import pytest
from PIL.TiffImagePlugin import TiffImageFile

from service.errors import BrokenImageError, DeadlineError
from service.imaging.depth import Samples
from service.imaging.tiff_directory import directories, with_directories
from service.imaging.tiff_pixels import load_tiff
from tests.tiffs import DEFLATE, FLOAT, NO_COMPRESSION, SIGNED, tiff_of


def pages(
    values: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]",
    compression: int = NO_COMPRESSION,
) -> bytes:
    """Return a TIFF with a page for each plane of uint8 (planes, H, W)."""
    planes, height, width = values.shape
    rows = [row.tobytes() for plane in values for row in plane]
    body = tiff_of(rows, {256: width, 258: 8}, compression=compression, rows_per_strip=height)
    (directory,) = directories(body)
    strips, counts = directory[273], directory[279]
    places = [{257: height, 273: (strips[n],), 279: (counts[n],)} for n in range(planes)]
    return with_directories(body, directory, places)


VALUES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.mark.parametrize("samples", [None, Samples("u1", 8)])
def test_a_page_is_loaded_alone(samples: Samples | None) -> None:
    body = pages(VALUES)
    file = TiffImageFile(BytesIO(body))
    loaded = load_tiff(file, body, samples)
    assert loaded is file
    assert np.array_equal(np.asarray(loaded), VALUES[0])


@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
def test_planes_are_loaded_one_below_the_other(planes: int, compression: int) -> None:
    body = pages(VALUES, compression)
    loaded = load_tiff(TiffImageFile(BytesIO(body)), body, Samples("u1", 8, planes=planes))
    assert (loaded.size, loaded.mode) == ((5, 4 * planes), "L")
    assert np.array_equal(np.asarray(loaded), VALUES[:planes].reshape(-1, 5))


@pytest.mark.parametrize("planes", [1, 3])
def test_the_deadline_is_looked_at_before_each_plane(planes: int) -> None:
    body = pages(VALUES)
    calls = 0

    def go_on() -> None:
        nonlocal calls
        calls += 1
        if calls == planes:
            raise DeadlineError("late")

    file = TiffImageFile(BytesIO(body))
    with pytest.raises(DeadlineError):
        load_tiff(file, body, Samples("u1", 8, planes=planes), go_on)
    assert (calls, file.tell()) == (planes, planes - 1)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_damaged_strip_of_any_plane_is_found(plane: int) -> None:
    body = bytearray(pages(VALUES, DEFLATE))
    directory = list(directories(bytes(body)))[plane]
    end = directory[273][0] + directory[279][0]
    body[end - 1] ^= 1  # of the checksum of zlib, which libtiff does not read
    with pytest.raises(BrokenImageError):
        load_tiff(TiffImageFile(BytesIO(body)), bytes(body), Samples("u1", 8, planes=3))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize(("kind", "form"), [("i4", SIGNED), ("f4", FLOAT)])
def test_words_of_32_bits_have_their_value_in_either_order(
    kind: str, form: int, compression: int, order: str
) -> None:
    values = np.array([[1, 70_000, -3]], kind)
    tags = {256: 3, 258: 32, 339: form}
    body = tiff_of(
        [values.astype(order + kind).tobytes()], tags, order=order, compression=compression
    )
    loaded = load_tiff(TiffImageFile(BytesIO(body)), body, Samples(kind, 32))
    assert np.array_equal(np.asarray(loaded), values)
