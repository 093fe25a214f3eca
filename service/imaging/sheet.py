"""A captioned sheet of images: a title, then rows of tiles."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from service.imaging.palette import Color

WIDTH = 1240
MARGIN = 48
GAP = 12
PAPER: Color = (255, 255, 255)
INK: Color = (29, 29, 31)
PALE_INK: Color = (110, 110, 115)
RULE: Color = (228, 228, 231)
TITLE_SIZE, HEADING_SIZE, CAPTION_SIZE = 30, 19, 14


@dataclass(frozen=True, slots=True)
class Tile:
    image: Image.Image
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Tiles under one heading, `columns` per line; a line is as high as its highest tile.

    `note` stands beside the heading. `widest` is the largest width of a tile, in pixels of the sheet. Small images are
    enlarged to squares of one color, or, with `smooth`, by interpolation. With `level` the tiles of a line have one
    height instead of one width.
    """

    tiles: Sequence[Tile]
    columns: int
    heading: str = ""
    note: str = ""
    widest: int = WIDTH
    smooth: bool = False
    level: bool = False


@dataclass(slots=True)
class _Pen:
    """Draws from top to bottom; `y` is how far down it is, in pixels."""

    sheet: Image.Image
    y: int = MARGIN
    draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.draw = ImageDraw.Draw(self.sheet)


def draw_sheet(title: str, subtitle: str, rows: Sequence[Row]) -> Image.Image:
    """Return the sheet, mode RGB, `WIDTH` pixels wide and as high as its rows need."""
    height = _measure(subtitle, rows)
    pen = _Pen(Image.new("RGB", (WIDTH, height), PAPER))
    _write(pen, title, TITLE_SIZE, INK, after=8)
    if subtitle:
        _write(pen, subtitle, HEADING_SIZE - 3, PALE_INK, after=8)
    for row in rows:
        _draw_row(pen, row)
    return pen.sheet


def write_line(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: float,
    color: Color,
    *,
    anchor: str = "la",
    width: float = WIDTH,
) -> None:
    """Write one line of text; an ellipsis shortens a line that is wider than `width` pixels."""
    font = ImageFont.load_default(size=size)
    if pen.textlength(text, font=font) > width:
        while text and pen.textlength(text + "…", font=font) > width:
            text = text[:-1]
        text = text.rstrip() + "…"
    pen.text(at, text, fill=color, font=font, anchor=anchor)


def _write(pen: _Pen, text: str, size: int, color: Color, *, after: int) -> None:
    write_line(pen.draw, (MARGIN, pen.y), text, size, color, width=WIDTH - 2 * MARGIN)
    pen.y += round(size * 1.3) + after


def _measure(subtitle: str, rows: Sequence[Row]) -> int:
    height = MARGIN + round(TITLE_SIZE * 1.3) + 8
    if subtitle:
        height += round((HEADING_SIZE - 3) * 1.3) + 8
    return height + sum(_row_height(row) for row in rows) + MARGIN


def _row_height(row: Row) -> int:
    lines = [
        row.tiles[first : first + row.columns] for first in range(0, len(row.tiles), row.columns)
    ]
    return _heading_height(row) + sum(_line_height(row, line) for line in lines)


def _heading_height(row: Row) -> int:
    return 28 + (round(HEADING_SIZE * 1.3) + 10 if row.heading else 0)


def _line_height(row: Row, line: Sequence[Tile]) -> int:
    highest = max(height for _, height in _sizes(row, line))
    captioned = any(tile.caption for tile in line)
    return highest + (round(CAPTION_SIZE * 1.3) + 6 if captioned else 0) + GAP


def _cell(row: Row) -> int:
    return min(row.widest, (WIDTH - 2 * MARGIN - GAP * (row.columns - 1)) // row.columns)


def _sizes(row: Row, line: Sequence[Tile]) -> list[tuple[int, int]]:
    """Return each tile's width and height in pixels of the sheet."""
    forms = [tile.image.width / tile.image.height for tile in line]
    if row.level:
        height = round((WIDTH - 2 * MARGIN - GAP * (len(line) - 1)) / sum(forms))
        return [(round(height * form), height) for form in forms]
    width = _cell(row)
    return [(width, max(1, round(width / form))) for form in forms]


def _draw_row(pen: _Pen, row: Row) -> None:
    pen.y += 28
    if row.heading:
        write_line(pen.draw, (MARGIN, pen.y), row.heading, HEADING_SIZE, INK)
        if row.note:
            taken = pen.draw.textlength(row.heading, font=ImageFont.load_default(HEADING_SIZE))
            at = (MARGIN + taken + 14, pen.y + (HEADING_SIZE - CAPTION_SIZE))
            room = WIDTH - MARGIN - at[0]
            write_line(pen.draw, at, row.note, CAPTION_SIZE, PALE_INK, width=room)
        pen.y += round(HEADING_SIZE * 1.3) + 10
    for first in range(0, len(row.tiles), row.columns):
        line = row.tiles[first : first + row.columns]
        _draw_line(pen, row, line)
        pen.y += _line_height(row, line)


def _draw_line(pen: _Pen, row: Row, line: Sequence[Tile]) -> None:
    highest = max(height for _, height in _sizes(row, line))
    x = MARGIN
    for tile, (width, height) in zip(line, _sizes(row, line), strict=True):
        pen.sheet.paste(_scaled(tile.image, (width, height), smooth=row.smooth), (x, pen.y))
        if tile.caption:
            at = (x, pen.y + highest + 6)
            write_line(pen.draw, at, tile.caption, CAPTION_SIZE, PALE_INK, width=width)
        x += width + GAP


def _scaled(image: Image.Image, size: tuple[int, int], *, smooth: bool) -> Image.Image:
    plain = image if image.mode == "RGB" else image.convert("RGB")
    enlarged = size[0] > plain.width and not smooth
    way = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return plain.resize(size, way)
