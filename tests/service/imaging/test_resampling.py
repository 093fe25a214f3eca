"""The resize by SIMD instructions against Pillow's, on photographs and on images that are hard to resize."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.card import Interpolation
from service.imaging.geometry import Box
from service.imaging.resampling import (
    FEWEST_PIXELS,
    HAS_SIMD,
    KERNELS,
    LONGEST_SIMD_SIDE,
    PILLOW_MAJOR,
    RESAMPLING,
    resample,
)
from tests.images import photograph

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
SIZES = ((224, 224), (320, 320), (300, 200))

needs_simd = pytest.mark.skipif(not HAS_SIMD, reason="there is no cykooz-resizer here")


def pillows(
    image: Image.Image, size: tuple[int, int], interpolation: Interpolation, box: Box
) -> Image.Image:
    """The reference: what every training pipeline calls."""
    return image.resize(size, Image.Resampling[interpolation.upper()], box)


def differences(
    image: Image.Image, size: tuple[int, int], interpolation: Interpolation, box: Box
) -> NDArray[np.int16]:
    made = resample(image, size, interpolation, box)
    assert (made.mode, made.size) == (image.mode, size)
    expected = np.asarray(pillows(image, size, interpolation, box)).astype(np.int16)
    found: NDArray[np.int16] = np.abs(np.asarray(made) - expected)
    return found


def boxes(image: Image.Image) -> tuple[Box, Box, Box]:
    """The whole, a center crop between pixels, and a part that ends exactly at two edges."""
    width, height = image.size
    center = (width / 16 + 0.3, height / 16 + 0.7, width * 15 / 16 - 0.1, height * 15 / 16)
    return (0, 0, width, height), center, (width / 3, height / 3, width, height)


def shown(name: str) -> Image.Image:
    return Image.open(BytesIO(photograph(name))).convert("RGB")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", KERNELS)
def test_on_photographs_few_values_differ_and_nearly_all_of_them_by_one(
    interpolation: Interpolation, mode: str
) -> None:
    means = []
    for name, size in product(PHOTOGRAPHS, SIZES):
        image = shown(name).convert(mode)
        for box in boxes(image):
            found = differences(image, size, interpolation, box)
            assert found.max() <= 2
            assert (found > 1).mean() <= 1e-4
            # If a side is resized by a ratio such as 8 to 5, many values lie halfway between two levels.
            assert found.mean() <= 0.03
            means.append(found.mean())
    assert np.median(means) <= 0.005


@needs_simd
@pytest.mark.parametrize("interpolation", KERNELS)
def test_simd_is_used_where_it_is_installed(interpolation: Interpolation) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    image = Image.fromarray(noise)
    found = differences(image, (224, 224), interpolation, (0.5, 0, 640, 480))
    assert 0 < found.mean() < 0.01, "else it is Pillow's own"


@pytest.mark.parametrize("interpolation", [name for name in RESAMPLING if name not in KERNELS])
def test_an_interpolation_that_is_another_in_both_is_pillows(interpolation: Interpolation) -> None:
    image = shown("coffee")
    for size, box in product(SIZES, boxes(image)):
        assert not differences(image, size, interpolation, box).any()


def hard(width: int, height: int) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Images at whose edges kernels ring and clip, and whose frames have many values between two levels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    noise: NDArray[np.float64] = np.random.default_rng(2).random((height, width))
    yield "checkerboard", (x + y) % 2 * 255
    yield "squares of 8", (x // 8 + y // 8) % 2 * 255
    from_center = (x - width / 2) ** 2 + (y - height / 2) ** 2
    yield "zone plate", 127.5 * (1 + np.cos(np.pi / max(width, height) * from_center))
    yield "one pixel", np.where((x == width // 2) & (y == height // 2), 255.0, 0.0)
    yield "noise", noise * 255
    yield "black and white", (noise > 0.5) * 255.0
    yield "white", np.full((height, width), 255.0)
    yield "ramp", x * 255 / width


HARD_SIZES = (
    (640, 480),
    (480, 640),
    (333, 777),  # Pillow 13 makes the pass from row to row first
    (64, 64),
    (3, 3),
    (1, 1),
    (1, 300),
    (300, 1),
    (1300, 900),
    (9, 20_000),
    (20_000, 9),
)


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize("stored", HARD_SIZES, ids=str)
def test_on_hard_images_no_value_differs_by_more_than_two(
    stored: tuple[int, int], interpolation: Interpolation
) -> None:
    for name, values in hard(*stored):
        image = Image.fromarray(values.astype(np.uint8)).convert("RGB")
        for size, box in product(((224, 224), (300, 20), (20, 300)), boxes(image)):
            found = differences(image, size, interpolation, box)
            assert found.max() <= 2, (name, size, box)
            if "checker" not in name and "squares" not in name:  # all of whose values may be a tie
                assert found.mean() <= 0.15, (name, size, box)
            assert name != "white" or not found.any()


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize("stored", [(LONGEST_SIMD_SIDE, 8), (8, LONGEST_SIMD_SIDE)], ids=str)
def test_weights_of_16_bits_are_enough_up_to_the_longest_side(
    stored: tuple[int, int], interpolation: Interpolation
) -> None:
    for name, values in hard(*stored):
        image = Image.fromarray(values.astype(np.uint8))
        size = (600, 8) if stored[0] > stored[1] else (8, 600)
        found = differences(image, size, interpolation, (0, 0, *stored))
        assert found.max() <= 1, name
        assert found.mean() <= 0.01 or "checker" in name or "squares" in name, name


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize(
    "stored", [(LONGEST_SIMD_SIDE + 1, 20), (20, LONGEST_SIMD_SIDE + 1)], ids=str
)
def test_a_longer_side_is_pillows(stored: tuple[int, int], interpolation: Interpolation) -> None:
    noise = np.random.default_rng(3).integers(0, 256, stored[::-1], np.uint8)
    image = Image.fromarray(noise)
    assert not differences(image, (100, 100), interpolation, (0, 0, *stored)).any()


@pytest.mark.parametrize("interpolation", KERNELS)
def test_a_frame_of_few_pixels_is_pillows(interpolation: Interpolation) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (40, 40, 3), np.uint8)
    size = (50, FEWEST_PIXELS // 50 - 40)
    assert not differences(Image.fromarray(noise), size, interpolation, (0, 0, 40, 40)).any()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_part_of_any_image_at_any_size_is_within_two_of_pillows(data: st.DataObject) -> None:
    sides = st.integers(1, 400)
    width, height, size = data.draw(sides), data.draw(sides), (data.draw(sides), data.draw(sides))
    edges = st.floats(0, 1, allow_subnormal=False)
    left, right = sorted(data.draw(edges) * width for _ in range(2))
    top, bottom = sorted(data.draw(edges) * height for _ in range(2))
    noise = np.random.default_rng(data.draw(st.integers(0, 9))).integers(
        0, 256, (height, width, 3), np.uint8
    )
    interpolation = data.draw(st.sampled_from(sorted(KERNELS)))
    found = differences(Image.fromarray(noise), size, interpolation, (left, top, right, bottom))
    assert found.max() <= 2


@pytest.mark.parametrize("box", [(-1, 0, 30, 30), (0, 0, 200.5, 100), (9, 9, 3, 3)])
def test_a_box_that_pillow_refuses_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match=r"(?i)^box "):
        resample(Image.new("RGB", (200, 100)), (224, 224), "bicubic", box)


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (10, 20, 30, 20), (7.5, 7.5, 7.5, 7.5)])
def test_a_box_without_area_is_pillows(box: Box) -> None:
    assert not differences(shown("coffee"), (224, 224), "bicubic", box).any()


def test_a_copy_is_another_image() -> None:
    image = shown("coffee")
    copy = resample(image, image.size, "bicubic", (0, 0, *image.size))
    assert copy is not image
    assert copy.tobytes() == image.tobytes()


@pytest.mark.parametrize("box", [(50, 20, 274, 244), (50.5, 20.25, 274.5, 244.25)])
@pytest.mark.parametrize("interpolation", KERNELS)
def test_a_part_at_its_own_size_is_the_part(interpolation: Interpolation, box: Box) -> None:
    image = shown("coffee")
    assert differences(image, (224, 224), interpolation, box).max() <= 1
    if box[0] == 50:
        part = resample(image, (224, 224), interpolation, box)
        assert part.tobytes() == image.crop((50, 20, 274, 244)).tobytes()


def test_many_threads_make_the_same_frames() -> None:
    images = [shown(name) for name in PHOTOGRAPHS]

    def frame(index: int) -> bytes:
        image = images[index % len(images)]
        return resample(image, (224, 224), "bicubic", boxes(image)[1]).tobytes()

    alone = [frame(index) for index in range(len(images))]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(frame, range(64)))
    assert found == alone * 16


NO_PACKAGE = 'sys.modules["cykooz_resizer"] = None'
UNKNOWN_PILLOW = 'PIL.__version__ = "99.0.0"'
RESIZE = """
import sys
import PIL
from io import BytesIO
from PIL import Image
{before}
from service.imaging.resampling import HAS_SIMD, resample
assert not HAS_SIMD
image = Image.open(BytesIO(sys.stdin.buffer.read())).convert("RGB")
sys.stdout.buffer.write(resample(image, (224, 224), "lanczos", (10.5, 0, 590, 400)).tobytes())
"""


@pytest.mark.parametrize("before", [NO_PACKAGE, UNKNOWN_PILLOW], ids=["no wheel", "new Pillow"])
def test_without_the_package_or_with_a_pillow_it_does_not_know_pillow_does_all(before: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", RESIZE.format(before=before)],
        input=photograph("coffee"),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    expected = pillows(shown("coffee"), (224, 224), "lanczos", (10.5, 0, 590, 400))
    assert made == expected.tobytes()


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize("height", [700, 720, 721, 722, 800])
def test_the_passes_have_the_order_of_this_pillow(
    height: int, interpolation: Interpolation
) -> None:
    """From Pillow 13 on, from row to row first where the height loses more than twice what the width does."""
    edges = np.random.default_rng(5).integers(0, 2, (height, 300, 3), np.uint8) * 255
    image = Image.fromarray(edges)
    frame, box = (40, 200), (0, 0, 300, height)  # 260 columns fewer, so 520 rows: 720
    assert differences(image, frame, interpolation, box).max() <= 2
    resampling = Image.Resampling[interpolation.upper()]
    other = (300, 200) if height <= 720 or PILLOW_MAJOR < 13 else (40, height)
    turned = np.asarray(image.resize(other, resampling).resize(frame, resampling))
    made = np.asarray(resample(image, frame, interpolation, box)).astype(np.int16)
    if interpolation != "bilinear":  # without ringing nothing is clipped between the passes
        assert np.abs(made - turned).max() > 2, "the test can not tell the orders apart"
