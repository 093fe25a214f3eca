"""Each kind of sample becomes 8 bits by the table of docs/images.md; values are worked out by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging import depth
from service.imaging.depth import Samples, in_strips, to_eight_bits


def eight(words: NDArray[np.generic], samples: Samples) -> list[object]:
    shown: list[object] = np.asarray(to_eight_bits(Image.fromarray(words), samples)).tolist()
    return shown


def row(values: list[float], kind: str, samples: Samples) -> object:
    """Return the 8 bits of one row of values of this type."""
    words = {1: "u1", 2: "u2", 4: "f4" if kind == "f4" else "i4"}
    stored = np.array([values], kind)
    return eight(stored.view(words.get(stored.itemsize, "i4")), samples)[0]


@pytest.mark.parametrize(
    ("kind", "bits", "values", "expected"),
    [
        ("u2", 16, [0, 128, 129, 32768, 65535], [0, 0, 1, 128, 255]),
        ("u2", 12, [0, 8, 9, 2048, 4095], [0, 0, 1, 128, 255]),
        ("i1", 8, [-128, -1, 0, 64, 127], [0, 0, 0, 129, 255]),
        ("i2", 16, [-5, 0, 100, 255], [0, 0, 100, 255]),
        ("i2", 16, [-32768, 0, 16384, 32767], [0, 0, 128, 255]),
        ("i4", 32, [-5, 0, 100, 255], [0, 0, 100, 255]),
        ("i4", 32, [-5, 256, 65535], [0, 1, 255]),
        ("i4", 32, [0, 2**30, 2**31 - 1], [0, 128, 255]),
        ("u4", 32, [0, 200], [0, 200]),
        ("u4", 32, [0, 257, 65535], [0, 1, 255]),
        ("u4", 32, [0, 2**31, 2**32 - 1], [0, 128, 255]),
        ("u8", 64, [0, 2**31, 2**32 - 1], [0, 128, 255]),
        ("u8", 64, [0, 2**63, 2**64 - 1], [0, 128, 255]),
        ("f4", 32, [0, 0.25, 1], [0, 64, 255]),
        ("f4", 32, [0, 0.25, 1.4, 200], [0, 0, 1, 200]),
        ("f4", 32, [0, 257, 65535], [0, 1, 255]),
        ("f4", 32, [0, 2.0**31, 2.0**40], [0, 128, 255]),
        ("f4", 32, [-1, -math.inf, math.nan, 0.5, math.inf], [0, 0, 0, 128, 255]),
        ("f4", 32, [math.nan, math.inf], [0, 255]),
        ("f2", 16, [0, 0.25, 1], [0, 64, 255]),
        ("f8", 64, [0, 0.25, 1, math.inf], [0, 64, 255, 255]),
    ],
)
def test_each_kind_is_scaled_to_eight_bits(
    kind: str, bits: int, values: list[float], expected: list[int]
) -> None:
    assert row(values, kind, Samples(kind, bits)) == expected
    white = row(values, kind, Samples(kind, bits, is_white_zero=True))
    assert white == pytest.approx([255 - value for value in expected], abs=1)


def test_the_words_of_a_64_bit_sample_may_come_high_first() -> None:
    stored = np.array([[0.25, 1.0]], ">f8").view(">i4").astype("i4")
    assert eight(stored, Samples("f8", 64, high_word_first=True)) == [[64, 255]]


def test_big_endian_words_are_understood() -> None:
    image = Image.frombytes("I;16B", (2, 1), b"\x80\x00\xff\xff", "raw", "I;16B")
    assert np.asarray(to_eight_bits(image, Samples("u2", 16))).tolist() == [[128, 255]]


def test_a_transparent_gray_is_white() -> None:
    words = np.array([[0, 514, 515]], "u2")
    assert eight(words, Samples("u2", 16, transparent=514)) == [[0, 255, 2]]
    assert eight(np.array([[4095]], "u2"), Samples("u2", 12, transparent=5000)) == [[255]]


@pytest.mark.parametrize("alpha", ["straight", "premultiplied"])
def test_gray_with_alpha_lies_on_white(alpha: depth.Alpha) -> None:
    words = np.array([[0, 65535, 9999, 0, 0, 32700, 65535, 65535]], "u2")
    if alpha == "premultiplied":
        words[0, 2] = 0
    assert eight(words, Samples("u2", 16, per_pixel=2, alpha=alpha)) == [[0, 255, 128, 255]]


def test_premultiplied_gray_is_not_multiplied_again() -> None:
    words = np.array([[32768, 32768]], "u2")  # white, half opaque
    assert eight(words, Samples("u2", 16, per_pixel=2, alpha="premultiplied")) == [[255]]
    assert eight(words, Samples("u2", 16, per_pixel=2, alpha="straight")) == [[191]]


def test_planes_become_rgb() -> None:
    planes = np.array([[65535, 0], [0, 65535], [0, 32768]], "u2")
    assert eight(planes, Samples("u2", 16, planes=3)) == [[[255, 0, 0], [0, 255, 128]]]


def test_planes_with_alpha_lie_on_white() -> None:
    planes = np.array([[65535, 0], [0, 0], [0, 0], [65535, 0]], "u2")
    shown = eight(planes, Samples("u2", 16, planes=4, alpha="straight"))
    assert shown == [[[255, 0, 0], [255, 255, 255]]]


def test_a_large_image_is_scaled_by_its_largest_value_wherever_that_is() -> None:
    width, height = 512, depth.STRIP_PIXELS // 512 * 2 + 3
    words = np.zeros((height, width), "i4")
    words[0, 0], words[-1, -1] = 257, 65535
    shown = np.asarray(to_eight_bits(Image.fromarray(words), Samples("i4", 32)))
    assert shown.shape == (height, width)
    assert (shown[0, 0], shown[-1, -1], shown.sum()) == (1, 255, 256)


def test_planes_of_a_large_image_stay_together() -> None:
    width, height = 512, depth.STRIP_PIXELS // 512 + 5
    planes = np.repeat(np.array([0, 257, 514], "u2"), height * width).reshape(-1, width)
    shown = np.asarray(to_eight_bits(Image.fromarray(planes), Samples("u2", 16, planes=3)))
    assert shown.shape == (height, width, 3)
    assert (shown == (0, 1, 2)).all()


def test_strips_join_to_the_whole() -> None:
    width, height = 1024, depth.STRIP_PIXELS // 1024 * 2 + 1
    image = Image.linear_gradient("L").resize((width, height))
    strips: list[int] = []

    def noted(strip: Image.Image) -> Image.Image:
        strips.append(strip.width * strip.height)
        return strip.convert("RGB")

    assert in_strips(image, "RGB", noted) == image.convert("RGB")
    assert len(strips) == 3
    assert max(strips) <= depth.STRIP_PIXELS
