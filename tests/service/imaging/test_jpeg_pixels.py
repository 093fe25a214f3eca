"""A JPEG's pixels at the scale that is drafted; Pillow's own decode of the whole file gives the expected ones."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from service.errors import BrokenImageError, DeadlineError, UnsupportedImageError
from service.imaging.jpeg_pixels import load_jpeg
from tests.images import encode, photograph


def jpeg(size: tuple[int, int] = (160, 120), **options: object) -> bytes:
    image = Image.open(BytesIO(photograph("rocket"))).resize(size)
    return encode(image, "JPEG", quality=88, **options)


def drafted(body: bytes, reduction: int = 1) -> ImageFile.ImageFile:
    """Return Pillow's image of a file at a scale, not decoded."""
    file = Image.open(BytesIO(body))
    if reduction > 1:
        file.draft(None, (file.width // reduction, file.height // reduction))
    return file


def expected(body: bytes, reduction: int = 1) -> NDArray[np.uint8]:
    file = drafted(body, reduction)
    return np.asarray(file)


class Calls:
    """Counts how often the work is asked to go on; the given call of them is too late."""

    def __init__(self, late: int = 0) -> None:
        self.count = 0
        self._late = late

    def __call__(self) -> None:
        self.count += 1
        if self.count == self._late:
            raise DeadlineError("late")


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_whole_file_is_decoded_once_at_its_scale(reduction: int, *, progressive: bool) -> None:
    body = jpeg(progressive=progressive)
    file = drafted(body, reduction)
    go_on = Calls()
    loaded = load_jpeg(file, body, go_on)
    assert loaded is file
    assert loaded.size == (160 // reduction, 120 // reduction)
    assert np.array_equal(np.asarray(loaded), expected(body, reduction))
    assert go_on.count == 0, "nothing is decoded again"


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(160, 120), (161, 121), (17, 160), (97, 97), (160, 33), (9, 9)])
def test_a_file_without_its_end_marker_is_completed_at_the_same_scale(
    size: tuple[int, int], reduction: int
) -> None:
    body = jpeg(size)
    file = drafted(body[:-2], reduction)
    go_on = Calls()
    loaded = load_jpeg(file, body[:-2], go_on)
    assert loaded.size == drafted(body, reduction).size
    assert np.array_equal(np.asarray(loaded), expected(body, reduction))
    assert go_on.count > 0
    file = drafted(body[:-2], reduction)
    with pytest.raises(DeadlineError):
        load_jpeg(file, body[:-2], Calls(late=1))


def test_a_file_that_lacks_pixels_is_not_completed() -> None:
    body = jpeg()[:-200]
    file = drafted(body)
    with pytest.raises(OSError, match="truncated"):
        load_jpeg(file, body)


@pytest.mark.parametrize("reduction", [1, 8])
def test_a_file_that_was_cut_and_closed_is_refused(reduction: int) -> None:
    whole = jpeg()
    body = whole[: len(whole) // 2] + b"\xff\xd9"
    file = drafted(body, reduction)
    go_on = Calls()
    with pytest.raises(
        BrokenImageError, match=r"fewer pixels than its header says\. Send the whole"
    ):
        load_jpeg(file, body, go_on)
    assert go_on.count > 0
    file = drafted(body, reduction)
    with pytest.raises(DeadlineError):
        load_jpeg(file, body, Calls(late=1))


def test_a_gray_image_is_doubtful_and_no_damage() -> None:
    body = encode(Image.new("RGB", (64, 48), (128, 128, 128)), "JPEG")
    file = drafted(body)
    go_on = Calls()
    assert np.asarray(load_jpeg(file, body, go_on)).tolist() == [[[128] * 3] * 64] * 48
    assert go_on.count > 0, "it was looked at"


SCAN = b"\xff\xda"


def with_scans(scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until there are so many."""
    body = encode(Image.new("L", (16, 16), 90), "JPEG", progressive=True)
    last = body[body.rindex(SCAN) : -2]
    return body[:-2] + last * (scans - body.count(SCAN)) + body[-2:]


@pytest.mark.parametrize(("scans", "is_read"), [(100, True), (101, False)])
def test_too_many_scans_are_refused_before_one_is_decoded(scans: int, *, is_read: bool) -> None:
    body = with_scans(scans)
    file = drafted(body)
    if is_read:
        assert np.asarray(load_jpeg(file, body)).shape == (16, 16)
        return
    with pytest.raises(BrokenImageError, match="more than 100 scans"):
        load_jpeg(file, body)
    assert file.tile, "it is not decoded"


def test_what_looks_like_scans_behind_a_file_of_one_scan_is_not_looked_at() -> None:
    body = jpeg() + (SCAN + b"\0\2") * 200
    file = drafted(body)
    assert np.array_equal(np.asarray(load_jpeg(file, body)), expected(body))


def test_a_kind_that_the_decoder_has_not_is_named() -> None:
    body = jpeg().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc3\0\x11\x08", 1)  # SOF3: lossless
    file = drafted(body)
    with pytest.raises(UnsupportedImageError, match="lossless"):
        load_jpeg(file, body)
