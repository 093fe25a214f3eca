"""A captioned sheet of images: a title, then rows of tiles, whose size on the sheet has bounds."""

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
TALLEST = 3
"""A tile is at most this many times as high as its column is wide; a narrower image becomes a narrower tile."""
LEVEL_FORM = 8
"""In a level row, how many times as wide as high, or as high as wide, the place of a tile is at most."""
THINNEST = 12
"""Pixels of a tile's shorter side at least: a line of pixels is enlarged across, so that one sees it."""
LONGEST_LINE = 400
"""Characters of a line of text that are measured; no sheet has room for more."""

Size = tuple[int, int]
"""Width and height in pixels of the sheet."""


@dataclass(frozen=True, slots=True)
class Tile:
    image: Image.Image
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Tiles under one heading, `columns` per line; a line is as high as its highest tile.

    `note` stands beside the heading. `widest` is the largest width of a tile, in pixels of the sheet. Small images are
    enlarged to squares of one color, or, with `smooth`, by interpolation. With `level` the tiles of a line have one
    height instead of one width. Whatever the form of an image, its tile is at most `TALLEST` times as high as a column
    is wide, in a level row at most `WIDTH` high.
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
    text = text[:LONGEST_LINE].replace("\n", " ")
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
    highest = max(height for _, height in _tile_sizes(row, line))
    captioned = any(tile.caption for tile in line)
    return highest + (round(CAPTION_SIZE * 1.3) + 6 if captioned else 0) + GAP


def _cell(row: Row) -> int:
    return min(row.widest, (WIDTH - 2 * MARGIN - GAP * (row.columns - 1)) // row.columns)


def fit_size(size: Size, room: Size) -> Size:
    """Return the largest size of the same form that fits into the room; no side is below `THINNEST` pixels.

    Args:
        size: of an image, in its own pixels.
        room: of its place; a side below `THINNEST` is kept.
    """
    factor = min(room[0] / size[0], room[1] / size[1])
    width, height = (
        min(limit, max(THINNEST, round(side * factor)))
        for side, limit in zip(size, room, strict=True)
    )
    return width, height


def _rooms(row: Row, line: Sequence[Tile]) -> list[Size]:
    """Return the room of each tile, before an image has that size: nothing on a sheet is larger."""
    if not row.level:
        width = max(1, _cell(row))
        return [(width, TALLEST * width)] * len(line)
    forms = [
        min(LEVEL_FORM, max(1 / LEVEL_FORM, tile.image.width / tile.image.height)) for tile in line
    ]
    height = min(WIDTH, (WIDTH - 2 * MARGIN - GAP * (len(line) - 1)) / sum(forms))
    return [(max(1, int(height * form)), max(1, round(height))) for form in forms]


def _tile_sizes(row: Row, line: Sequence[Tile]) -> list[Size]:
    rooms = _rooms(row, line)
    return [fit_size(tile.image.size, room) for tile, room in zip(line, rooms, strict=True)]


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
    sizes = _tile_sizes(row, line)
    highest = max(height for _, height in sizes)
    x = MARGIN
    for tile, size, (room, _) in zip(line, sizes, _rooms(row, line), strict=True):
        pen.sheet.paste(scale_image(tile.image, size, smooth=row.smooth), (x, pen.y))
        if tile.caption:
            at = (x, pen.y + highest + 6)
            write_line(pen.draw, at, tile.caption, CAPTION_SIZE, PALE_INK, width=room)
        x += room + GAP


def scale_image(image: Image.Image, size: Size, *, smooth: bool) -> Image.Image:
    """Return the image in mode RGB at this size, enlarged to squares of one color, or smoothly.

    A much larger image is first reduced by whole pixels: the filter of a side of a million pixels alone needs 48 MB.
    """
    plain = image if image.mode == "RGB" else image.convert("RGB")
    enlarged = size[0] >= plain.width and size[1] >= plain.height and not smooth
    if enlarged:
        return plain.resize(size, Image.Resampling.NEAREST)
    return plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
