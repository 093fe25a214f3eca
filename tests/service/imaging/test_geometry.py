import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.card import ImageInput
from service.imaging.geometry import plan

FRAMES = {
    "crop": ImageInput(height=224, width=224, resize="crop", shorter_side=256),
    "stretch": ImageInput(height=300, width=300, resize="stretch"),
    "letterbox": ImageInput(height=320, width=640, resize="letterbox"),
}
EVERYTHING = np.array([[0, 0, 1, 1]], np.float32)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(sorted(FRAMES)))
def test_the_whole_frame_never_reaches_beyond_the_image(
    width: int, height: int, policy: str
) -> None:
    (box,) = plan(width, height, FRAMES[policy]).boxes_on_image(EVERYTHING)
    assert 0 <= box[0] <= box[2] <= width
    assert 0 <= box[1] <= box[3] <= height


@pytest.mark.parametrize("policy", ["stretch", "letterbox"])
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
