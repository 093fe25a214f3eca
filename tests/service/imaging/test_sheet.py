import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.imaging.sheet import (
    GAP,
    MARGIN,
    WIDTH,
    Row,
    Tile,
    draw_sheet,
    fit_size,
    scale_image,
    write_line,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)
ROOM = WIDTH - 2 * MARGIN


def tile(
    color: tuple[int, int, int] = RED, size: tuple[int, int] = (10, 10), caption: str = ""
) -> Tile:
    return Tile(Image.new("RGB", size, color), caption)


def places(sheet: Image.Image, color: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (np.asarray(sheet) == color).all(axis=2)
    return found


def box_of(sheet: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what has this color, the last two beyond."""
    rows, columns = np.nonzero(places(sheet, color))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_sheet_is_as_wide_as_all_and_as_high_as_it_needs() -> None:
    one = draw_sheet("title", "", [Row([tile()], columns=4)])
    two = draw_sheet("title", "", [Row([tile()] * 5, columns=4)])
    cell = (ROOM - 3 * GAP) // 4
    assert one.mode == "RGB"
    assert one.width == two.width == WIDTH
    assert two.height - one.height == cell + GAP


def test_a_line_of_tiles_fills_the_sheet_from_margin_to_margin() -> None:
    sheet = draw_sheet("title", "", [Row([tile(RED), tile(BLUE), tile(RED)], columns=3)])
    left, top, right, bottom = box_of(sheet, RED)
    cell = (ROOM - 2 * GAP) // 3
    assert (left, right) == (MARGIN, MARGIN + 3 * cell + 2 * GAP)
    assert bottom - top == cell
    assert sheet.height - bottom == GAP + MARGIN
    assert box_of(sheet, BLUE)[0] == MARGIN + cell + GAP


def test_every_tile_is_as_wide_as_its_column_and_keeps_its_form() -> None:
    sheet = draw_sheet("title", "", [Row([tile(RED, (10, 20)), tile(BLUE, (20, 10))], columns=2)])
    cell = (ROOM - GAP) // 2
    left, top, right, bottom = box_of(sheet, RED)
    assert (right - left, bottom - top) == (cell, 2 * cell)
    left, top, right, bottom = box_of(sheet, BLUE)
    assert (right - left, bottom - top) == (cell, cell // 2)


def test_tiles_of_a_level_row_have_one_height_and_fill_its_width() -> None:
    row = Row([tile(RED, (10, 20)), tile(BLUE, (30, 20))], columns=2, level=True)
    sheet = draw_sheet("title", "", [row])
    red, blue = box_of(sheet, RED), box_of(sheet, BLUE)
    assert red[1::2] == blue[1::2]
    assert red[0] == MARGIN
    assert blue[2] == pytest.approx(WIDTH - MARGIN, abs=2)


def test_a_tile_is_never_wider_than_its_row_allows() -> None:
    left, _, right, _ = box_of(draw_sheet("t", "", [Row([tile()], columns=1, widest=100)]), RED)
    assert right - left == 100


LONG = [(1, 1000), (1, 10_000), (10_000, 1), (2, 65_535), (65_535, 2), (1000, 1), (1, 1)]


@pytest.mark.parametrize("size", LONG)
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_a_tile_is_at_most_three_times_as_high_as_its_column_is_wide(
    size: tuple[int, int], columns: int
) -> None:
    sheet = draw_sheet("title", "", [Row([tile(RED, size)], columns, smooth=True)])
    left, top, right, bottom = box_of(sheet, RED)
    cell = (ROOM - GAP * (columns - 1)) // columns
    assert 12 <= right - left <= cell
    assert 12 <= bottom - top <= 3 * cell


@pytest.mark.parametrize("size", LONG)
def test_tiles_of_a_level_row_are_at_most_as_high_as_the_sheet_is_wide(
    size: tuple[int, int],
) -> None:
    for other in [(10, 10), size]:
        row = Row([tile(RED, size), tile(BLUE, other)], columns=2, level=True)
        sheet = draw_sheet("title", "", [row])
        for color in (RED, BLUE):
            left, top, right, bottom = box_of(sheet, color)
            assert min(right - left, bottom - top) >= 12
            assert bottom - top <= WIDTH
            assert MARGIN <= left < right <= WIDTH - MARGIN


def test_the_narrow_tile_of_a_row_does_not_move_the_next_one() -> None:
    row = Row([tile(RED, (1, 500)), tile(BLUE)], columns=2)
    assert box_of(draw_sheet("", "", [row]), BLUE)[0] == MARGIN + (ROOM - GAP) // 2 + GAP


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((10, 20), (50, 100)),
        ((20, 10), (100, 50)),
        ((400, 100), (100, 25)),
        ((1, 1000), (12, 100)),
        ((1000, 1), (100, 12)),
    ],
)
def test_an_image_fits_into_its_room_and_is_never_thinner_than_one_can_see(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fit_size(size, (100, 100)) == fitted
    assert fit_size(size, (5, 5))[0] <= 5, "a room without twelve pixels is no larger for it"


def test_a_long_image_is_reduced_to_its_mean_colors() -> None:
    pixels = np.zeros((1, 120_000, 3), np.uint8)
    pixels[:, 60_000:] = 255
    small = np.asarray(scale_image(Image.fromarray(pixels), (100, 1), smooth=True))[0, :, 0]
    assert small[:45].max() == 0
    assert small[55:].min() == 255


def test_a_label_of_several_lines_is_one_line_of_a_sheet() -> None:
    draw_sheet("one\ntwo", "x" * 100_000, [Row([tile(caption="three\nfour")], 3)])


def test_headings_captions_and_a_subtitle_take_room() -> None:
    def height(subtitle: str = "", heading: str = "", caption: str = "") -> int:
        return draw_sheet("title", subtitle, [Row([tile(caption=caption)], 9, heading)]).height

    plain = height()
    assert height(subtitle="sub") - plain == 21 + 8
    assert height(heading="head") - plain == 25 + 10
    assert height(caption="cap") - plain == 18 + 6


def test_a_note_stands_behind_its_heading() -> None:
    with_note = Row([tile()], 9, "heading", note="a note")
    without = Row([tile()], 9, "heading")
    ink = np.asarray(draw_sheet("t", "", [with_note])) != np.asarray(draw_sheet("t", "", [without]))
    _, columns, _ = np.nonzero(ink)
    heading = ImageFont.load_default(19).getlength("heading")
    assert columns.min() >= MARGIN + heading + 14
    assert columns.max() < WIDTH - MARGIN


def test_a_small_image_is_enlarged_by_squares_and_smoothly_where_requested() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("RGB")

    def colors(*, smooth: bool) -> int:
        row = Row([Tile(image)], columns=1, widest=100, smooth=smooth)
        sheet = draw_sheet("", "", [row])
        return len(np.unique(np.asarray(sheet)[-MARGIN - GAP - 10, MARGIN : MARGIN + 100, 0]))

    assert colors(smooth=False) == 2
    assert colors(smooth=True) > 10


def test_a_palette_image_may_be_a_tile() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    assert places(draw_sheet("", "", [Row([Tile(image)], columns=2)]), RED).any()


@pytest.mark.parametrize(("width", "cut"), [(1000.0, False), (60.0, True), (1.0, True)])
def test_a_line_is_cut_where_it_would_be_too_wide(width: float, *, cut: bool) -> None:
    image = Image.new("RGB", (400, 40), "white")
    text = "a rather long line of text"
    write_line(ImageDraw.Draw(image), (0, 0), text, 14, (0, 0, 0), width=width)
    ink = np.flatnonzero((np.asarray(image) < 200).any(axis=(0, 2)))
    whole = ImageFont.load_default(size=14).getlength(text)
    ellipsis = ImageFont.load_default(size=14).getlength("…")
    assert ink.max() < (max(width, ellipsis) if cut else whole)
    assert cut or ink.max() > whole - 5
