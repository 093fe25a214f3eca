"""What a detector's best boxes on real images say about their stated form: wrong forms are refused, not certified."""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_form import said_form
from exporter.heads.box_grid import FRAME
from exporter.heads.box_unit import MOST, best_boxes
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import RawValues
from exporter.heads.undecoded import naming_offsets
from exporter.network import Array

LEAST_SHARE = 0.1
"""At least this share of them must not be empty. Centers and sizes that are read as corners seldom reach it; a quarter
of random boxes are not empty."""


def check_boxes(head: DetectHead, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse boxes that can not be what the recipe says.

    Args:
        head: with its activation settled.
        parts: the candidates on real images.

    Raises:
        RecipeError: the corners are in the wrong order, or the unit is another; the message names the option.
    """
    boxes = np.concatenate([best_boxes(head, one) for one in parts])
    form, unit = head.recipe.box_format, head.recipe.box_unit
    if form == "grid":
        return
    if unit == "pixel":
        _refuse_fractions(boxes, parts)
    if not len(boxes):
        return
    largest = float(np.median(np.abs(boxes).max(axis=1)))
    if unit == "frame" and largest > FRAME:
        is_taken = "unit" in head.assumed or head.is_written_so
        how = f"taken to be in 0 to 1, as is usual for --decoder {head.recipe.decoder}"
        said = "Boxes are " + (how if is_taken else "stated to be in 0 to 1 of the frame")
        raise RecipeError(
            f"{said}, but on real images their numbers reach {largest:.0f}. Give --box-unit pixel"
        )
    if form in {"xyxy", "yxyx"}:
        filled = float(np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
        if filled < LEAST_SHARE:
            raise RecipeError(
                f"{said_form(head)}; but of the best boxes on real images only "
                f"{filled:.0%} have their second corner below and to the right of the first. Give --box-format cxcywh "
                "or xywh; or, if the numbers are a center and half of width and height, export the network with its "
                "sizes doubled first"
            )


def refuse_best_boxes(known: RawValues) -> None:
    """Refuse best boxes that can not be what the recipe says; see `check_boxes`."""
    with naming_offsets(known.head, known.parts, known.image_input):
        check_boxes(known.head, known.parts)


def _refuse_fractions(best: Array, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse boxes in 0–1 of the frame that are read as pixels: all of them would lie in the upper left corner.

    Networks without a single confident box have only their other boxes to show it.
    """
    reach = np.concatenate([np.abs(one.boxes).reshape(-1, 4).max(axis=1) for one in parts])
    reach = reach[reach > 0]
    if not len(reach) or np.quantile(reach, MOST) > FRAME or np.abs(best).max(initial=0) > FRAME:
        return
    raise RecipeError(
        "Boxes are taken to be in pixels, as --box-unit pixel says or as it is usual for this form of detector, but "
        f"on real images {MOST:.0%} of them have no number larger than {float(np.quantile(reach, MOST)):.2g}. Give "
        "--box-unit frame"
    )
