"""What the numbers of boxes are, by the grid that they lie on: each form, with random weights and trained ones."""

import numpy as np
import pytest

from exporter.heads.box_grid import GridReading, read_grid
from exporter.heads.boxes import EXCHANGED_ORDER
from service.card import ImageInput
from tests.exporter.heads.dense import FORMS, Boxes, as_form, dense_boxes, grid_cells

UNITS = ("pixel", "frame")


def frame(height: int, width: int) -> ImageInput:
    return ImageInput(height=height, width=width, resize="stretch")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(320, 320), (384, 640)])
@pytest.mark.parametrize("trained", [False, True])
def test_the_grid_shows_form_and_unit(
    form: str, unit: str, size: tuple[int, int], *, trained: bool
) -> None:
    corners = dense_boxes(size, trained=trained)
    boxes = as_form(corners, form, size if unit == "frame" else None)
    assert read_grid(boxes, frame(*size)) == GridReading(form, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("inner", [False, True])
def test_a_cell_may_have_several_boxes_and_coarse_levels_may_come_first(*, inner: bool) -> None:
    size = (320, 320)
    for strides in ((32, 16, 8), (8, 16, 32, 64, 128)):
        corners = dense_boxes(size, strides=strides, a_cell=3, inner=inner)
        assert read_grid(as_form(corners, "yxyx"), frame(*size)) == GridReading("yxyx", "pixel")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("strides", [(8,), (16,), (8, 16), (4, 8, 16, 32, 64), (16, 32, 64)])
@pytest.mark.parametrize("size", [(128, 128), (192, 320)])
def test_grids_of_fewer_or_more_levels_are_known(
    size: tuple[int, int], strides: tuple[int, ...], unit: str
) -> None:
    corners = dense_boxes(size, trained=True, strides=strides, extent=0.2)
    boxes = as_form(corners, "cxcywh", size if unit == "frame" else None)
    seen = read_grid(boxes, frame(*size))
    assert seen is not None
    assert seen.unit == unit
    assert "cxcywh" in (seen.form, *seen.could_be)


def test_boxes_in_the_order_of_their_scores_lie_on_no_grid() -> None:
    size = (320, 320)
    order = np.random.default_rng(1).permutation(2100)
    assert read_grid(dense_boxes(size)[:, order], frame(*size)) is None


def test_as_few_or_as_many_boxes_as_no_grid_has_show_nothing() -> None:
    boxes = dense_boxes((320, 320))
    for count in (5, 300, 2099):
        assert read_grid(boxes[:, :count], frame(320, 320)) is None


def test_boxes_that_do_not_vary_show_nothing() -> None:
    assert read_grid(np.zeros((2, 2100, 4)), frame(320, 320)) is None
    assert read_grid(np.full((2, 2100, 4), np.nan), frame(320, 320)) is None


def test_boxes_on_another_frame_than_the_input_have_no_known_unit() -> None:
    boxes = as_form(dense_boxes((320, 320)), "cxcywh") / 2
    seen = read_grid(boxes, frame(320, 320))
    assert seen is not None
    assert seen.unit is None


def test_boxes_that_are_much_smaller_than_their_cells_may_be_corner_or_center() -> None:
    """Both fit, and neither is chosen."""
    boxes = as_form(dense_boxes((320, 320)), "cxcywh")
    boxes[..., 2:] = 1e-3
    seen = read_grid(boxes, frame(320, 320))
    assert seen == GridReading(None, "pixel", ("cxcywh", "xywh"))
    seen = read_grid(boxes[..., list(EXCHANGED_ORDER)], frame(320, 320))
    assert seen == GridReading(None, "pixel", ("cycxhw", "yxhw"))


def moved_centers(offset: float, size: float, noise: float) -> Boxes:
    """Return an untrained YOLOX's centers and sizes: as far from the corners of their cells, in strides, everywhere."""
    cells, side = grid_cells((320, 320))
    apart = np.random.default_rng(3).normal(0, noise, (4, len(side), 4))
    center = (cells + offset + apart[..., :2]) * side
    return np.concatenate([center, size * np.exp(apart[..., 2:]) * side], axis=2)


@pytest.mark.parametrize(
    ("offset", "size", "noise"),
    [(0.0, 1.0, 0.1), (-0.8, 1.35, 0.05), (-0.6, 1.2, 0.05), (-0.9, 2.4, 0.1), (-0.7, 2.4, 0.1)],
)
def test_centers_that_are_moved_to_the_upper_left_are_no_corners(
    offset: float, size: float, noise: float
) -> None:
    """Read as a corner with a size, each box would contain the middle of its cell."""
    seen = read_grid(moved_centers(offset, size, noise), frame(320, 320))
    assert seen == GridReading(None, "pixel", ("cxcywh", "xywh"))


@pytest.mark.parametrize(
    ("scale", "factor"),
    [
        ((1000, 1000), (1000, "frame")),
        ((100, 100), (100, "frame")),
        ((960, 512), (2, "pixel")),
    ],
)
@pytest.mark.parametrize("form", ["xyxy", "cxcywh"])
def test_numbers_on_another_scale_are_in_no_unit(
    form: str, scale: tuple[int, int], factor: tuple[float, str]
) -> None:
    size = (256, 480)
    boxes = as_form(dense_boxes(size, trained=True), form, size) * [*scale, *scale]
    seen = read_grid(boxes, frame(*size))
    assert seen is not None
    assert seen.unit is None
    assert seen.too_large is not None
    assert seen.too_large[0] == pytest.approx(factor[0], rel=0.2)
    assert seen.too_large[1] == factor[1]


@pytest.mark.parametrize("extent", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("size", [(320, 320), (256, 480)])
def test_boxes_of_large_objects_are_not_too_large_for_their_unit(
    size: tuple[int, int], extent: float
) -> None:
    for unit in (None, size):
        boxes = as_form(dense_boxes(size, trained=True, extent=extent), "xyxy", unit)
        seen = read_grid(boxes, frame(*size))
        assert seen is None or seen.too_large is None


@pytest.mark.parametrize(
    ("order", "form", "seen_as"),
    [
        ([0, 2, 1, 3], "xyxy", "xxyy"),
        ([1, 3, 0, 2], "xyxy", "yyxx"),
        ([2, 3, 0, 1], "cxcywh", "ssxy"),
    ],
)
def test_orders_that_no_format_has_are_seen(order: list[int], form: str, seen_as: str) -> None:
    boxes = as_form(dense_boxes((320, 320)), form)[..., order]
    seen = read_grid(boxes, frame(320, 320))
    assert seen is not None
    assert (seen.form, seen.odd_order) == (None, seen_as)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("form", "seen_as"), [("xyxy", "xYxY"), ("cxcywh", "xYss")])
def test_y_from_the_bottom_is_seen(form: str, seen_as: str, *, trained: bool) -> None:
    size = (256, 480)
    boxes = as_form(dense_boxes(size, trained=trained), form)
    for at, letter in enumerate(seen_as):
        if letter == "Y":
            boxes[..., at] = size[0] - boxes[..., at]
    seen = read_grid(boxes, frame(*size))
    assert seen is not None
    assert (seen.form, seen.odd_order) == (None, seen_as)
