"""Connected parts of a mask, against SciPy's, and their boxes on the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage  # type: ignore[import-untyped]

from service.card import ImageInput
from service.heads.components import MOST_COMPONENTS, components, connected
from service.imaging.decode import Limits
from service.imaging.geometry import plan
from service.imaging.source_image import SourceImage

LABELS = ("background", "cat", "dog")


def source(width: int, height: int, **target: object) -> SourceImage:
    frame = ImageInput.model_validate({"height": 8, "width": 8, "resize": "stretch", **target})
    return SourceImage(b"", plan(width, height, frame), Limits())


def outputs(mask: list[str]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    ids = np.array([[int(pixel) for pixel in row.replace(".", "0")] for row in mask], np.uint8)
    return {"mask": ids, "confidence": np.full_like(ids, 204)}


@given(
    arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 2))
)
@settings(max_examples=60, deadline=None)
def test_parts_are_those_that_scipy_finds(
    values: np.ndarray[tuple[int, int], np.dtype[np.int32]],
) -> None:
    found = connected(values)
    assert ((found < 0) == (values < 0)).all()
    for value in range(3):
        expected, count = ndimage.label(values == value, np.ones((3, 3)))
        pairs = {
            (int(one), int(other))
            for one, other in zip(expected[expected > 0], found[expected > 0], strict=True)
        }
        assert len(pairs) == count == len({other for _, other in pairs})


def test_a_spiral_is_one_part() -> None:
    side = 101
    spiral = np.full((side, side), -1, np.int32)
    y, x, dy, dx, length = 50, 50, 0, 1, 2
    while 0 <= y < side and 0 <= x < side and length < side:
        for _ in range(length):
            spiral[min(y, side - 1), min(x, side - 1)] = 0
            y, x = y + dy, x + dx
        dy, dx, length = dx, -dy, length + 1
    _, count = ndimage.label(spiral == 0, np.ones((3, 3)))
    assert connected(spiral).max() + 1 == count


MASK = [
    "11......",
    "12......",
    "........",
    "......22",
    "......22",
    "......22",
    "........",
    "1.......",
]


def test_classes_are_apart_or_joined_and_the_largest_comes_first() -> None:
    given_ = {"labels": LABELS, "background_id": 0}
    apart = components(outputs(MASK), source(80, 40), join_classes=False, **given_)  # type: ignore[arg-type]
    assert [(one.label, one.box) for one in apart] == [
        ("dog", (60, 15, 80, 30)),
        ("cat", (0, 0, 20, 10)),
        ("dog", (10, 5, 20, 10)),
        ("cat", (0, 35, 10, 40)),
    ]
    joined = components(outputs(MASK), source(80, 40), join_classes=True, **given_)  # type: ignore[arg-type]
    assert [one.label for one in joined] == ["dog", "cat", "cat"]
    assert joined[1].box == (0, 0, 20, 10)
    assert joined[1].region is not None
    assert joined[1].region.all()
    assert joined[0].score == pytest.approx(0.8)
    assert apart[1].region is not None
    assert apart[1].region.tolist() == [[True, True], [True, False]]


def test_padding_is_no_part_and_an_empty_mask_has_none() -> None:
    full = outputs(["1" * 8] * 8)
    boxed = source(80, 40, resize="letterbox")
    (one,) = components(full, boxed, labels=LABELS, background_id=0, join_classes=True)
    assert one.box == (0, 0, 80, 40)
    nothing = outputs(["." * 8] * 8)
    assert components(nothing, boxed, labels=LABELS, background_id=0, join_classes=True) == []


def test_a_mask_of_specks_has_a_bounded_number_of_parts() -> None:
    ids = np.zeros((128, 128), np.uint8)
    ids[::2, ::2] = 1
    found = components(
        {"mask": ids, "confidence": ids},
        source(128, 128),
        labels=LABELS,
        background_id=0,
        join_classes=True,
    )
    assert len(found) == MOST_COMPONENTS
