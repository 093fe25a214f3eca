"""What the four numbers of a box may be: its forms, with y from the bottom, half sizes, and on another scale."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from exporter.heads.box_grid import Form
from exporter.heads.boxes import EXCHANGED_ORDER, Y_FIRST
from exporter.network import Array
from exporter.recipe_tables import DetectRecipe
from service.card import ImageInput

XXYY = "xxyy"
"""Two corners, both x before both y; no --box-format has this order."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One of the forms, or `xxyy`, in a unit of which the frame has so many in width and height.

    `is_turned` where y is counted from the bottom, `is_half` where sizes are half of width and height, and
    `is_centered` where points are counted from the middle of the frame. The numbers are `factor` times what the recipe
    says of them.
    """

    form: str
    unit: tuple[float, float]
    is_turned: bool = False
    is_half: bool = False
    is_centered: bool = False
    factor: float = 1.0

    def corners(self, numbers: Array) -> Array:
        """Return xyxy in 0–1 of the frame (B, 4) of a network's numbers (B, 4)."""
        values = numbers.astype(np.float64)
        if self.form in Y_FIRST:
            values = values[:, list(EXCHANGED_ORDER)]
        if self.form == XXYY:
            values = values[:, [0, 2, 1, 3]]
        values = values / (self.factor * np.array(self.unit * 2)) + self._middle
        first, second = values[:, :2], values[:, 2:] * (2 if self.is_half else 1)
        if self._plain == "cxcywh":
            first, second = first - second / 2, first + second / 2
        elif self._plain == "xywh":
            second = first + second
        return self._turned(np.concatenate([first, second], axis=1))

    def numbers(self, corners: Array) -> Array:
        """Return the numbers (B, 4) of xyxy in 0–1 of the frame (B, 4)."""
        upright = self._turned(corners)
        first, second = upright[:, :2], upright[:, 2:]
        if self._plain == "cxcywh":
            first, second = (first + second) / 2, second - first
        elif self._plain == "xywh":
            second = second - first
        values = np.concatenate([first, second / (2 if self.is_half else 1)], axis=1)
        values = (values - self._middle) * (self.factor * np.array(self.unit * 2))
        if self.form == XXYY:
            return values[:, [0, 2, 1, 3]]
        return values[:, list(EXCHANGED_ORDER)] if self.form in Y_FIRST else values

    @property
    def is_plain(self) -> bool:
        """Whether a --box-format states it."""
        return self == Reading(self.form, self.unit) and self.form != XXYY

    @property
    def points(self) -> int:
        """How many of the numbers are those of points, from the first on; the others are sizes."""
        return 4 if self._plain in {"xyxy", XXYY} else 2

    @property
    def _middle(self) -> Array:
        """What a point in the middle of the frame has too much, in shares of the frame (4,)."""
        middle = 0.5 if self.is_centered else 0.0
        return np.array([middle] * self.points + [0.0] * (4 - self.points))

    @property
    def _plain(self) -> str:
        return Y_FIRST.get(self.form, self.form)

    def _turned(self, corners: Array) -> Array:
        if not self.is_turned:
            return corners
        left, top, right, bottom = corners.T
        return np.stack([left, 1 - bottom, right, 1 - top], axis=1)


def taken_reading(recipe: DetectRecipe, image_input: ImageInput) -> Reading:
    """Return what a recipe says of boxes that are not relative to cells."""
    is_pixel = recipe.box_unit == "pixel"
    return Reading(
        recipe.box_format, (image_input.width, image_input.height) if is_pixel else (1, 1)
    )


def other_readings(taken: Reading) -> list[Reading]:
    """Return all readings in the same unit but the one that is taken, the simplest first."""
    readings = (
        Reading(form, taken.unit, is_turned, is_half)
        for is_half in (False, True)
        for is_turned in (False, True)
        for form in get_args(Form)
        if Y_FIRST.get(form, form) == "cxcywh" or not is_half
    )
    others = [one for one in readings if one != taken]
    return [*others, Reading(XXYY, taken.unit)]


def scaled_readings(taken: Reading, factor: float) -> list[Reading]:
    """Return the forms with numbers that are so many times as large, from the corner or the middle of the frame."""
    return [
        Reading(form, taken.unit, is_centered=is_centered, factor=factor)
        for is_centered in (False, True)
        for form in get_args(Form)
    ]
