"""What a detector's best boxes on real images say about their stated form: wrong forms are refused, not certified."""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.network import Array

BEST = 20
LEAST_SCORE = 0.3
"""The best boxes of each image are looked at, if their scores are at least this."""

LEAST_SHARE = 0.1
"""At least this share of them must not be empty. Centers and sizes that are read as corners seldom reach it; a quarter
of random boxes are not empty."""

FRAME = 2.0
"""Coordinates in 0–1 of the frame are hardly ever larger, and coordinates in pixels hardly ever all smaller."""

_ANY_UNIT = {"pair", "triple"}
"""Decoders whose unit only the recipe states."""


def check_boxes(head: DetectHead, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse boxes that can not be what the recipe says.

    Args:
        head: with its activation settled.
        parts: the candidates on real images.

    Raises:
        RecipeError: the corners are in the wrong order, or the unit is another; the message names the option.
    """
    boxes = np.concatenate([_best(head, one) for one in parts])
    form, unit = head.recipe.box_format, head.recipe.box_unit
    if not len(boxes) or form == "grid":
        return
    largest = float(np.median(np.abs(boxes).max(axis=1)))
    if unit == "frame" and largest > FRAME:
        raise RecipeError(
            f"--box-unit frame says that boxes are in 0 to 1, but on real images their numbers reach {largest:.0f}. "
            "Give --box-unit pixel"
        )
    if head.recipe.decoder in _ANY_UNIT and unit == "pixel" and np.abs(boxes).max() <= FRAME:
        raise RecipeError(
            "--box-unit pixel says that boxes are in pixels, but on real images none of their numbers is larger than "
            f"{float(np.abs(boxes).max()):.2g}. Give --box-unit frame"
        )
    if form in {"xyxy", "yxyx"}:
        filled = float(np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
        if filled < LEAST_SHARE:
            raise RecipeError(
                f"--box-format {form} says that boxes are two corners, but of the best boxes on real images only "
                f"{filled:.0%} have their second corner below and to the right of the first. Give --box-format cxcywh "
                "or xywh"
            )


def _best(head: DetectHead, part: Candidates[Array]) -> Array:
    """Return the best boxes of one image as the network gives them, (B, 4)."""
    scores, anchors, _ = (values[0] for values in head.pairs(part))
    order = np.argsort(-scores)[:BEST]
    order = order[scores[order] >= LEAST_SCORE]
    boxes: Array = part.boxes[0][anchors[order]]
    return boxes
