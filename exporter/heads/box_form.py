"""Which form a detector's boxes have, as far as values on real images show it; the card has what is assumed besides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_grid import Form, GridReading, read_grid
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.network import Array
from exporter.recipe_tables import BoxPart
from service.card import ImageInput

ENOUGH = 20
"""Fewer boxes show nothing of their form."""

ALL = 0.99
"""So large a share of boxes counts as all of them: some networks have single boxes that are odd."""

BEYOND = 0.05
"""A box leaves the frame if it lies beyond by more than this share of it."""

MANY = 0.2
"""Boxes that are read wrongly leave the frame, or have no area, at least this often."""

FRAME = 2.0
"""Coordinates in 0–1 of the frame are hardly ever larger."""

BOX_WORDS = {
    "xyxy": "two corners, x before y",
    "yxyx": "two corners, y before x",
    "xywh": "the upper left corner and the size",
    "cxcywh": "center and size",
    "cyxhw": "the center's y before its x, then height and width",
    "grid": "relative to a cell",
}

EXCHANGED = {"xyxy": "yxyx", "yxyx": "xyxy"}
"""The format with x and y exchanged, where there is one."""


def judge_form(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> DetectHead:
    """Return the head with the form that the boxes have on real images, and without what need not be assumed.

    Args:
        head: with its activation settled.
        parts: the candidates on real images.
        image_input: the network's.

    Raises:
        RecipeError: what is stated, or usual for this form of output, can not be; the message names the option.
    """
    shapes = {one.boxes.shape[1:] for one in parts}
    boxes = (
        np.concatenate([one.boxes for one in parts]).astype(np.float64)
        if len(shapes) == 1
        else None
    )
    seen = read_grid(boxes, image_input) if boxes is not None else None
    if head.recipe.box_format == "grid":
        _refuse_decoded(seen)
        return head
    if seen is not None and seen.form is not None:
        head = _by_grid(head, seen.form)
    else:
        _by_values(head, parts, image_input)
    return _with_unit(head, seen, parts)


def _refuse_decoded(seen: GridReading | None) -> None:
    if seen is not None and seen.unit is not None:
        raise RecipeError(
            "--decoder yolox says that boxes are relative to their cells, but on real images they lie on the grid in "
            f"{seen.unit}s already. Give --decoder yolov5"
        )


def _by_grid(head: DetectHead, form: Form) -> DetectHead:
    if form == "cyxhw":
        raise RecipeError(
            f"The boxes are {BOX_WORDS[form]}, as the grid of real images shows. No --box-format has this order: "
            "exchange the columns in the network"
        )
    stated = head.recipe.box_format
    if form != stated and "format" not in head.assumed:
        raise RecipeError(
            f"--box-format {stated} says that boxes are {BOX_WORDS[stated]}, but on real images they are "
            f"{BOX_WORDS[form]}: so their numbers follow the cells of the grid. Give --box-format {form}"
        )
    recipe = head.recipe.model_copy(update={"box_format": form})
    return replace(head, recipe=recipe, assumed=without(head, "format"))


def _by_values(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> None:
    """Refuse centers that can only be corners, corners that can only be centers, and x that can only be y."""
    rows = np.concatenate([one.boxes.reshape(-1, 4) for one in parts]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]
    if len(np.unique(rows.round(6), axis=0)) < ENOUGH:
        return
    unit = (image_input.width, image_input.height)
    size = np.array(unit if head.recipe.box_unit == "pixel" else (1, 1))
    first, second = rows[:, :2], rows[:, 2:]
    ordered = float(np.mean((second > first).all(axis=1)))
    form = head.recipe.box_format
    if form in {"cxcywh", "xywh"}:
        half = second / 2 if form == "cxcywh" else np.zeros_like(second)
        leaves = _share_outside(first - half, first - half + second, size)
        if ordered >= ALL and leaves >= MANY and _share_outside(first, second, size) <= 1 - ALL:
            raise _other(
                head,
                f"all have their third number above their first and their fourth above their second, and read as "
                f"{form} {leaves:.0%} leave the frame",
                "xyxy, or yxyx for y before x as TensorFlow's networks have it",
            )
    elif (
        ordered <= 1 - MANY
        and float(np.mean((second > 0).all(axis=1))) >= ALL
        and _share_outside(first - second / 2, first + second / 2, size) <= 1 - ALL
    ):
        raise _other(
            head,
            f"only {ordered:.0%} have their second corner below and to the right of the first, and read as center and "
            "size all lie in the frame",
            "cxcywh",
        )
    elif form in EXCHANGED and "format" in head.assumed:
        _refuse_exchanged(head, first, second, size)


def _refuse_exchanged(head: DetectHead, first: Array, second: Array, size: Array) -> None:
    """Refuse corners that leave a frame that is not square, and lie in it with x and y exchanged."""
    leaves = _share_outside(first, second, size)
    if leaves >= MANY and _share_outside(first, second, size[::-1]) <= 1 - ALL:
        raise _other(
            head,
            f"{leaves:.0%} leave the frame, and with x and y exchanged all lie in it",
            EXCHANGED[head.recipe.box_format],
        )


def _share_outside(first: Array, second: Array, size: Array) -> float:
    outside = (first < -BEYOND * size) | (second > (1 + BEYOND) * size)
    return float(np.mean(outside.any(axis=1)))


def _other(head: DetectHead, found: str, instead: str) -> RecipeError:
    form = head.recipe.box_format
    return RecipeError(
        f"Boxes are {_taken(head, 'format')} to be {form}, {BOX_WORDS[form]}; but of all boxes on real images {found}. "
        f"Give --box-format {instead}"
    )


def _taken(head: DetectHead, part: BoxPart) -> str:
    return "taken" if part in head.assumed else "stated"


def _with_unit(
    head: DetectHead, seen: GridReading | None, parts: Sequence[Candidates[Array]]
) -> DetectHead:
    """Return the head with the unit that the grid shows, or that the largest numbers leave no doubt of."""
    recipe = head.recipe
    if seen is not None and seen.unit is not None:
        # Whether a detr is one of queries depends on the unit too, and so does its suppression.
        if seen.unit != recipe.box_unit and (
            "unit" not in head.assumed or recipe.decoder == "detr"
        ):
            raise RecipeError(
                f"Boxes are {_taken(head, 'unit')} to be in {recipe.box_unit}s, but on real images they follow the "
                f"cells of the grid in {seen.unit}s. Give --box-unit {seen.unit}"
            )
        recipe = recipe.model_copy(update={"box_unit": seen.unit})
        return replace(head, recipe=recipe, assumed=without(head, "unit"))
    reach = np.concatenate([np.abs(one.boxes).reshape(-1) for one in parts])
    reach = reach[np.isfinite(reach)]
    if len(reach) and (recipe.box_unit == "pixel") == (float(reach.max(initial=0)) > FRAME):
        return replace(head, assumed=without(head, "unit"))
    return head


def without(head: DetectHead, part: BoxPart) -> tuple[BoxPart, ...]:
    """Return what is assumed of the boxes, less a part that is known."""
    return tuple(one for one in head.assumed if one != part)
