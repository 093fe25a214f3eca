import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.card import ImageInput
from service.imaging.geometry import Box, Geometry, plan

FRAMES = {
    "crop": ImageInput(height=224, width=224, resize="crop", shorter_side=256),
    "stretch": ImageInput(height=300, width=300, resize="stretch"),
    "letterbox": ImageInput(height=320, width=640, resize="letterbox"),
    "corner": ImageInput(height=320, width=640, resize="letterbox", placement="corner"),
}
EVERYTHING = np.array([[0, 0, 1, 1]], np.float32)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(sorted(FRAMES)))
def test_the_whole_frame_never_reaches_beyond_the_image(
    width: int, height: int, policy: str
) -> None:
    (box,) = plan(width, height, FRAMES[policy]).boxes_on_image(EVERYTHING)
    assert 0 <= box[0] <= box[2] <= width
    assert 0 <= box[1] <= box[3] <= height


@pytest.mark.parametrize("policy", ["stretch", "letterbox", "corner"])
def test_a_policy_that_keeps_all_covers_the_image_exactly(policy: str) -> None:
    (box,) = plan(1203, 777, FRAMES[policy]).boxes_on_image(EVERYTHING)
    assert box.tolist() == [0, 0, 1203, 777]


def test_a_crop_covers_the_middle_square() -> None:
    (box,) = plan(512, 256, FRAMES["crop"]).boxes_on_image(EVERYTHING)
    assert box.tolist() == [144, 16, 368, 240]


def test_a_letterboxed_point_returns_to_its_pixel() -> None:
    # 1280×320 fits at a half: 640×160, with 80 rows of padding above and below.
    geometry = plan(1280, 320, FRAMES["letterbox"])
    frame_box = np.array([[320 / 640, (80 + 40) / 320, 400 / 640, (80 + 80) / 320]], np.float32)
    assert geometry.content == (0, 80, 640, 240)
    assert geometry.boxes_on_image(frame_box)[0] == pytest.approx([640, 80, 800, 160])


def test_an_image_in_the_corner_has_its_padding_on_the_right_and_below() -> None:
    wide, tall = (plan(*size, FRAMES["corner"]) for size in ((1280, 320), (320, 1280)))
    assert (wide.content, wide.region) == ((0, 0, 640, 160), (0, 0, 1280, 640))
    assert (tall.content, tall.region) == ((0, 0, 80, 320), (0, 0, 2560, 1280))
    frame_box = np.array([[320 / 640, 40 / 320, 400 / 640, 80 / 320]], np.float32)
    assert wide.boxes_on_image(frame_box)[0] == pytest.approx([640, 80, 800, 160])


def test_a_letterbox_is_centered_where_its_card_says_so_or_nothing() -> None:
    stated = FRAMES["letterbox"].model_copy(update={"placement": "center"})
    assert plan(1280, 320, stated) == plan(1280, 320, FRAMES["letterbox"])


def test_without_padding_the_whole_frame_shows_the_image() -> None:
    assert plan(512, 256, FRAMES["crop"]).content == (0, 0, 224, 224)
    assert plan(512, 256, FRAMES["stretch"]).content == (0, 0, 300, 300)


@pytest.mark.parametrize(
    ("size", "content"),
    [((10_000, 1), (0, 159, 640, 160)), ((1, 10_000), (319, 0, 320, 320))],
)
def test_a_thin_image_has_at_least_one_pixel_of_a_letterbox(
    size: tuple[int, int], content: tuple[int, int, int, int]
) -> None:
    assert plan(*size, FRAMES["letterbox"]).content == content


@pytest.mark.parametrize(
    ("size", "policy", "seen"),
    [
        ((512, 256), "crop", (144, 16, 368, 240)),
        ((256, 512), "crop", (16, 144, 240, 368)),
        ((512, 256), "stretch", (0, 0, 512, 256)),
        ((1280, 320), "letterbox", (0, 0, 1280, 320)),
        ((320, 1280), "letterbox", (0, 0, 320, 1280)),
    ],
)
def test_what_is_seen_is_the_region_inside_the_image(
    size: tuple[int, int], policy: str, seen: tuple[int, int, int, int]
) -> None:
    assert plan(*size, FRAMES[policy]).seen == seen


@pytest.mark.parametrize(
    ("region", "seen"),
    [
        ((1.4, 2.6, 7.6, 5.4), (1, 3, 8, 5)),
        ((-3.0, -2.0, 13.0, 12.0), (0, 0, 10, 6)),
        ((3.1, 2.1, 3.2, 2.2), (3, 2, 4, 3)),
        ((9.9, 5.9, 10.0, 6.0), (9, 5, 10, 6)),
        ((-5.0, -5.0, -4.0, -4.0), (0, 0, 1, 1)),
    ],
    ids=["rounded", "clipped", "smaller than a pixel", "at the far edge", "outside"],
)
def test_at_least_one_pixel_of_the_image_is_seen(
    region: tuple[float, float, float, float], seen: tuple[int, int, int, int]
) -> None:
    assert Geometry(10, 6, region, (0, 0, 4, 4)).seen == seen


@pytest.mark.parametrize(
    ("size", "region"),
    [((1280, 320), (0, -160, 1280, 480)), ((320, 1280), (-1120, 0, 1440, 1280))],
)
def test_the_region_of_a_letterbox_holds_its_padding(
    size: tuple[int, int], region: tuple[float, float, float, float]
) -> None:
    assert plan(*size, FRAMES["letterbox"]).region == region


@pytest.mark.parametrize(
    ("region", "shown"),
    [
        ((2, 1, 8, 5), [2, 1, 8, 5]),  # crop
        ((0, 0, 10, 6), [0, 0, 10, 6]),  # stretch
        ((0, -2, 10, 8), [0, 0, 10, 6]),  # letterbox
    ],
)
def test_boxes_are_clipped_to_the_part_of_the_image_that_the_frame_shows(
    region: Box, shown: list[float]
) -> None:
    boxes = np.array([[-1, -1, 2, 2], [0.25, 0.5, 0.5, 0.75]], np.float32)
    carried = Geometry(10, 6, region, (0, 0, 4, 4)).boxes_on_image(boxes)
    cut, inside = carried.tolist()
    left, top, right, bottom = region
    wide, high = right - left, bottom - top
    assert cut == shown
    assert inside == [left + wide / 4, top + high / 2, left + wide / 2, top + high * 0.75]
    assert carried.dtype == np.float32
