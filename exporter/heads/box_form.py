"""Which form a detector's boxes have, as far as values on real images show it; the card has what is assumed besides.

`detector_steps` lists these steps in the order in which they are tried.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_grid import GridReading
from exporter.heads.box_unit import judge_unit, without
from exporter.heads.boxes import Y_FIRST, Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import Boxes, Settled
from exporter.heads.open_decoder import ALL, settle_rows
from exporter.heads.undecoded import naming_offsets, refuse_undecoded
from exporter.network import Array
from exporter.recipe_tables import BoxPart
from service.card import ImageInput

ENOUGH = 4
"""Fewer boxes show nothing of their form."""

BEYOND = 0.05
"""A box leaves the frame if it lies beyond by more than this share of it."""

MANY = 0.2
"""Boxes that are read wrongly leave the frame, or have no area, at least this often; where all are few, `ENOUGH` do."""

SPREAD = 0.1
"""Places with a smaller standard deviation, as a share of the frame, do not show which point of a box they are: an
untrained network may give almost the same box everywhere."""

BOX_WORDS = {
    "xyxy": "two corners, x before y",
    "yxyx": "two corners, y before x",
    "xywh": "the upper left corner and the size",
    "yxhw": "the upper left corner's y before its x, then height and width",
    "cxcywh": "center and size",
    "cycxhw": "the center's y before its x, then height and width",
    "grid": "relative to a cell",
}

_NUMBER_WORDS = {
    "x": "x",
    "y": "y",
    "X": "x counted from the right",
    "Y": "y counted from the bottom",
    "s": "a size",
}

EXCHANGED = {**Y_FIRST, **{other: one for one, other in Y_FIRST.items()}}
"""The format with x and y exchanged; boxes relative to a cell have none."""


def settle_open_rows(known: Boxes) -> DetectHead | None:
    """Return the head of rows of which the shape leaves open whether their boxes are relative to cells."""
    if not known.is_open or known.every is None:
        return None
    return settle_rows(known.head, known.seen, known.every, known.image_input)


def refuse_offsets(known: Boxes) -> None:
    """Refuse offsets from anchors, where the boxes follow no grid."""
    if known.seen is None:
        refuse_undecoded(known.head, known.parts, known.image_input)


def refuse_odd_order(known: Boxes) -> None:
    """Refuse boxes whose numbers the grid shows to be in an order that can not be stated."""
    seen = known.seen
    if seen is None or not seen.odd_order:
        return
    order = ", ".join(_NUMBER_WORDS[one] for one in seen.odd_order)
    if set(seen.odd_order) & {"X", "Y"}:
        raise RecipeError(
            f"The numbers of a box are {order}: so they follow the cells of the grid on real images. Every "
            "--box-format counts from the upper left corner. Export the network with height - y in place of such a "
            "y, and width - x in place of such an x; in 0 to 1 of the frame, with 1 - y and 1 - x"
        )
    raise RecipeError(
        f"The numbers of a box are {order}: so they follow the cells of the grid on real images. No --box-format "
        "has this order. Export the network with the columns in the order of x_min, y_min, x_max, y_max"
    )


def refuse_other_scale(known: Boxes) -> None:
    """Refuse boxes whose numbers the grid shows to be on a scale that can not be stated."""
    seen = known.seen
    if seen is None or seen.too_large is None:
        return
    factor, unit = seen.too_large
    what = {"pixel": "pixels of the input", "frame": "0 to 1 of the frame"}[unit]
    raise RecipeError(
        f"From cell to cell of the grid, on real images, the boxes' numbers rise {factor:.3g} times as fast as "
        f"{what}. They are those of another size of image, or on another scale, as -1 to 1 or 0 to 1000. Export "
        "the network with boxes in pixels of its input, or in 0 to 1 of it"
    )


def settle_unit(known: Boxes) -> DetectHead:
    return judge_unit(known.head, known.seen, known.parts)


def settle_by_grid(known: Boxes) -> Settled | None:
    """Return the head with the form that the grid shows.

    Raises:
        RecipeError: another form is stated, or the grid shows two forms and the usual one is neither.
    """
    seen = known.seen
    if seen is None or (seen.form is None and not seen.could_be):
        return None
    return Settled(_by_grid(known.head, seen))


def refuse_other_form(known: Boxes) -> None:
    """Refuse centers that can only be corners, corners that can only be centers, and x that can only be y."""
    with naming_offsets(known.head, known.parts, known.image_input):
        _by_values(known.head, known.parts, known.image_input)


def _by_grid(head: DetectHead, seen: GridReading) -> DetectHead:
    form = seen.form
    stated = head.recipe.box_format
    if form is None:
        if stated not in seen.could_be:
            one, other = seen.could_be
            raise RecipeError(
                f"Boxes are {_taken(head, 'format')} to be {stated}, {BOX_WORDS[stated]}; but on the grid of real "
                f"images they are a point and a size. Give --box-format {one}, {BOX_WORDS[one]}; or {other}, "
                f"{BOX_WORDS[other]}"
            )
        return head
    if form != stated and "format" not in head.assumed:
        raise RecipeError(
            f"{said_form(head)}, but on real images they are "
            f"{BOX_WORDS[form]}: so their numbers follow the cells of the grid. Give --box-format {form}"
        )
    recipe = head.recipe.model_copy(update={"box_format": form})
    return replace(head, recipe=recipe, assumed=without(head, "format"), is_form_seen=True)


def _by_values(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> None:
    rows = np.concatenate([one.boxes.reshape(-1, 4) for one in parts]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]
    _, places = np.unique(rows.round(6), axis=0, return_index=True)
    rows = rows[places]
    if len(rows) < ENOUGH:
        return
    unit = (image_input.width, image_input.height)
    size = np.array(unit if head.recipe.box_unit == "pixel" else (1, 1))
    form = head.recipe.box_format
    is_y_first = form in Y_FIRST
    size = size[::-1] if is_y_first else size
    first, second = rows[:, :2], rows[:, 2:]
    ordered = float(np.mean((second > first).all(axis=1)))
    plain = Y_FIRST.get(form, form)
    if plain == "xyxy":
        _refuse_corners(head, first, second, ordered, size)
        as_read = first, second
    else:
        half = second / 2 if plain == "cxcywh" else np.zeros_like(second)
        as_read = first - half, first - half + second
        leaves = _share_outside(*as_read, size)
        if (
            ordered >= ALL
            and _are_many(leaves, len(first))
            and _share_outside(first, second, size) <= 1 - ALL
        ):
            raise _other(
                head,
                f"all have their third number above their first and their fourth above their second, and read as "
                f"{form} {leaves:.0%} leave the frame",
                "yxyx"
                if is_y_first
                else "xyxy, or yxyx for y before x as TensorFlow's networks have it",
            )
        _refuse_other_point(head, first, second, size)
    if "format" in head.assumed:
        _refuse_exchanged(head, *as_read, size)


def _refuse_other_point(head: DetectHead, first: Array, second: Array, size: Array) -> None:
    """Refuse centers with sizes of which many leave the frame, and none does as upper left corners, and the reverse.

    Boxes that are what is stated may leave the frame too, but then on all sides: some of them leave it either way.
    """
    if not _are_spread(first, size):
        return
    as_centers = _share_outside(first - second / 2, first + second / 2, size)
    as_corners = _share_outside(first, first + second, size)
    form = head.recipe.box_format
    is_center = Y_FIRST.get(form, form) == "cxcywh"
    leaves, otherwise = (as_centers, as_corners) if is_center else (as_corners, as_centers)
    if _are_many(leaves, len(first)) and otherwise <= 1 - ALL:
        other = _OTHER_POINT[form]
        found = f"{leaves:.0%} leave the frame, and as {BOX_WORDS[other]} all lie in it"
        raise _other(head, found, other)


_OTHER_POINT = {"cxcywh": "xywh", "xywh": "cxcywh", "cycxhw": "yxhw", "yxhw": "cycxhw"}
"""The format with the upper left corner in place of the center, or the reverse."""


def _refuse_corners(
    head: DetectHead, first: Array, second: Array, ordered: float, size: Array
) -> None:
    """Refuse corners of which many have no area, and all lie in the frame as a point and a size."""
    if not _are_many(1 - ordered, len(first)) or float(np.mean((second > 0).all(axis=1))) < ALL:
        return
    is_y_first = head.recipe.box_format in Y_FIRST
    if _share_outside(first - second / 2, first + second / 2, size) <= 1 - ALL:
        raise _other(
            head,
            f"only {ordered:.0%} have their second corner below and to the right of the first, and read as center and "
            "size all lie in the frame",
            f"{'cycxhw' if is_y_first else 'cxcywh'}; or, if its sizes are half of width and "
            "height, export the network with them doubled first",
        )
    if _are_spread(first, size) and _share_outside(first, first + second, size) <= 1 - ALL:
        raise _other(
            head,
            f"only {ordered:.0%} have their second corner below and to the right of the first, and read as a corner "
            "and the size all lie in the frame",
            "yxhw" if is_y_first else "xywh",
        )


def _are_spread(places: Array, size: Array) -> bool:
    return float((places / size).std(axis=0).max()) >= SPREAD


def _refuse_exchanged(head: DetectHead, first: Array, second: Array, size: Array) -> None:
    """Refuse boxes that leave a frame that is not square, and lie in it with x and y exchanged."""
    leaves = _share_outside(first, second, size)
    if _are_many(leaves, len(first)) and _share_outside(first, second, size[::-1]) <= 1 - ALL:
        raise _other(
            head,
            f"{leaves:.0%} leave the frame, and with x and y exchanged all lie in it",
            EXCHANGED[head.recipe.box_format],
        )


def _are_many(share: float, boxes: int) -> bool:
    return share >= MANY and share * boxes >= ENOUGH - 0.5


def _share_outside(first: Array, second: Array, size: Array) -> float:
    outside = (first < -BEYOND * size) | (second > (1 + BEYOND) * size)
    return float(np.mean(outside.any(axis=1)))


def _other(head: DetectHead, found: str, instead: str) -> RecipeError:
    form = head.recipe.box_format
    return RecipeError(
        f"Boxes are {_taken(head, 'format')} to be {form}, {BOX_WORDS[form]}; but of all boxes on real images {found}. "
        f"Give --box-format {instead}"
    )


def said_form(head: DetectHead) -> str:
    """Return what is said of the form of boxes, and by what, as the beginning of a message."""
    form = head.recipe.box_format
    words = f"{form}, {BOX_WORDS[form]}"
    if _taken(head, "format") == "taken":
        return f"Boxes are taken to be {words}, as is usual for --decoder {head.recipe.decoder}"
    return f"Boxes are stated to be {words}, by --box-format or by the name of their output"


def _taken(head: DetectHead, part: BoxPart) -> str:
    return "taken" if part in head.assumed or head.is_written_so else "stated"
