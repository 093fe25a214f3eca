"""Charts of curves and bars, drawn at twice their size and halved, so that their edges are smooth."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from service.imaging.palette import Color
from service.imaging.sheet import INK, PALE_INK, PAPER, RULE, write_line

FINE = 2
"""Pixels drawn per pixel of the result, along each side."""
LINE: Color = (196, 60, 96)
REFERENCE: Color = (150, 150, 156)


@dataclass(frozen=True, slots=True)
class Curve:
    """Values 0–1 over named places on the x axis, and a `reference` value, 0–1.

    A point is drawn solid where `full` is True, else as a ring.
    """

    labels: Sequence[str]
    shares: Sequence[float]
    full: Sequence[bool]
    reference: float


def draw_curve(curve: Curve, width: int = 560, height: int = 300) -> Image.Image:
    """Return the curve over an axis of 0 to 100 %, with the reference as a dashed line; mode RGB, sizes in pixels."""
    image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
    pen = ImageDraw.Draw(image)
    left, right, top, bottom = 46 * FINE, (width - 14) * FINE, 10 * FINE, (height - 34) * FINE
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        level = bottom - share * (bottom - top)
        pen.line((left, level, right, level), fill=RULE, width=FINE)
        beside = (left - 8 * FINE, level)
        write_line(
            pen, beside, f"{share:.0%}", 12 * FINE, PALE_INK, anchor="rm", width=width * FINE
        )
    dashed = bottom - curve.reference * (bottom - top)
    for x in range(left, right, 12 * FINE):
        pen.line((x, dashed, min(right, x + 6 * FINE), dashed), fill=REFERENCE, width=FINE)
    gap = (right - left) / len(curve.labels)
    places = [left + gap * (index + 0.5) for index in range(len(curve.labels))]
    points = [
        (x, bottom - share * (bottom - top)) for x, share in zip(places, curve.shares, strict=True)
    ]
    pen.line(points, fill=LINE, width=3 * FINE, joint="curve")
    for (place, y), full, label in zip(points, curve.full, curve.labels, strict=True):
        size = 5 * FINE
        fill = LINE if full else PAPER
        pen.ellipse((place - size, y - size, place + size, y + size), fill, LINE, 2 * FINE)
        at = (place, bottom + 8 * FINE)
        write_line(pen, at, label, 12 * FINE, PALE_INK, anchor="ma", width=gap * 1.6)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def draw_bars(names: Sequence[str], shares: Sequence[float], width: int = 1144) -> Image.Image:
    """Return one line per name: the name, a bar of its share, 0–1, and the share in per cent; mode RGB."""
    step = 34 * FINE
    image = Image.new("RGB", (width * FINE, step * len(names)), PAPER)
    pen = ImageDraw.Draw(image)
    left, right = 230 * FINE, (width - 70) * FINE
    for index, (name, share) in enumerate(zip(names, shares, strict=True)):
        y = step * index + step / 2
        size = 15 * FINE
        write_line(pen, (0, y), name, size, INK, anchor="lm", width=left - 16 * FINE)
        end = left + max(2 * FINE, share * (right - left))
        pen.rectangle((left, y - 8 * FINE, right, y + 8 * FINE), fill=(244, 244, 246))
        pen.rectangle((left, y - 8 * FINE, end, y + 8 * FINE), fill=LINE)
        at = (right + 14 * FINE, y)
        write_line(pen, at, f"{share:.1%}", size, PALE_INK, anchor="lm", width=70 * FINE)
    return image.resize((width, image.height // FINE), Image.Resampling.LANCZOS)
