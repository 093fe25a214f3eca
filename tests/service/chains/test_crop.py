"""What a step sees of a box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.chains.crop import Region, chosen, cut, region_of
from service.chains.definition import Step
from service.heads.detect import Detection
from service.imaging.geometry import Box


def step(**given: object) -> Step:
    return Step.model_validate({"name": "read", "task": "classify", "model": "m", **given})


@pytest.mark.parametrize(
    ("given", "box", "region"),
    [
        ({}, (10, 20, 30, 40), (10, 20, 30, 40)),
        ({}, (10.2, 20.7, 30.1, 40.0), (10, 20, 31, 40)),
        ({"margin": 0.5}, (10, 20, 30, 40), (0, 10, 40, 50)),
        ({"margin": 0.5}, (0, 0, 20, 40), (0, 0, 30, 60)),  # clipped at the corner
        ({"square": True}, (10, 20, 30, 60), (0, 20, 40, 60)),
        ({"square": True}, (0, 20, 10, 60), (-15, 20, 25, 60)),  # beyond the edge
        ({"square": True}, (90, 60, 100, 80), (85, 60, 105, 80)),
        ({"square": True, "margin": 1.0}, (40, 30, 50, 40), (30, 20, 60, 50)),
        ({"square": True, "margin": 4.0}, (0, 0, 100, 80), (0, 0, 100, 80)),  # larger than the image
        ({"square": True, "margin": 1.0}, (0, 0, 10, 10), (-10, -10, 20, 20)),  # a corner
        ({"square": True}, (-30, 0, -10, 20), (0, 0, 20, 20)),  # outside: moved inside
        ({}, (50, 50, 50, 50), (50, 50, 51, 51)),  # no area
        ({}, (99.9999, 79.9999, 100, 80), (99, 79, 100, 80)),
        ({}, (-30, -30, -10, -10), (0, 0, 1, 1)),  # outside
        ({}, (200, 200, 300, 300), (99, 79, 100, 80)),
    ],
)  # fmt: skip
def test_a_region_has_whole_pixels_of_the_image(
    given: dict[str, object], box: Box, region: Region
) -> None:
    assert region_of(step(**given), box, (100, 80)) == region


edges = st.floats(-1e4, 1e4, allow_subnormal=False)


@given(
    st.tuples(edges, edges, edges, edges),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.floats(0, 4, allow_subnormal=False),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_any_box_gives_a_part_that_is_bounded_by_the_image(
    box: Box,
    width: int,
    height: int,
    margin: float,
    square: bool,  # noqa: FBT001  # given by hypothesis
) -> None:
    left, top, right, bottom = region_of(step(margin=margin, square=square), box, (width, height))
    assert left < right
    assert top < bottom
    on_image = max(0, min(right, width) - max(left, 0)) * max(0, min(bottom, height) - max(top, 0))
    assert 0 < (right - left) * (bottom - top) <= (4 if square else 1) * on_image


def thing(box: Box, label: str = "cat") -> Detection:
    return Detection(label, 0, 0.5, box)


def test_a_step_reads_its_labels_and_no_specks_and_no_more_than_it_may() -> None:
    things = [
        thing((0, 0, 9, 1)),
        thing((0, 0, 10, 1), "dog"),
        thing((0, 0, 1, 10)),
        thing((0, 0, 50, 50)),
    ]
    assert chosen(step(), things, (200, 100)) == [0, 1, 2, 3]
    assert chosen(step(min_side=0.1), things, (200, 100)) == [1, 2, 3]
    assert chosen(step(labels=["cat"]), things, (200, 100)) == [0, 2, 3]
    assert chosen(step(max_boxes=2), things, (200, 100)) == [0, 1]
    assert chosen(step(labels=["cow"]), things, (200, 100)) == []


def test_the_background_becomes_its_mean() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20] = 100
    pixels[:, 20:] = 200
    pixels[10:30, 10:30] = (255, 0, 0)
    shape = np.ones((2, 2), np.bool_)
    shape[1, 1] = False
    inside = Detection("digit", 1, 1.0, (10, 10, 30, 30), shape)
    image, region = Image.fromarray(pixels), (5, 5, 35, 35)
    kept = np.asarray(cut(image, region, inside, step()))
    assert (kept == pixels[5:35, 5:35]).all()
    even = np.asarray(cut(image, region, inside, step(background="mean")))
    assert even[7, 7].tolist() == even[7, 22].tolist() == even[22, 7].tolist() == [255, 0, 0]
    outside = even[0, 0].tolist()
    assert even[29, 29].tolist() == even[28, 2].tolist() == even[24, 24].tolist() == outside
    assert outside not in ([100] * 3, [200] * 3)


def test_a_box_whose_shape_is_not_known_is_cropped_as_it_is() -> None:
    image = Image.new("RGB", (10, 10), "lime")
    part = cut(image, (2, 2, 6, 8), thing((2, 2, 6, 8)), step(background="mean"))
    assert part.size == (4, 6)
    assert part.getpixel((0, 0)) == (0, 255, 0)


def test_what_is_beyond_the_image_has_the_mean_color_of_the_part() -> None:
    image = Image.new("RGB", (20, 20), (10, 20, 30))
    part = cut(image, (-5, 4, 11, 20), thing((0, 8, 6, 16)), step(square=True))
    assert part.size == (16, 16)
    assert np.unique(np.asarray(part).reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]
