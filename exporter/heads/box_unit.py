"""The unit of a detector's boxes: the grid that they lie on shows it, or how large their numbers are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_grid import FRAME, GridReading, Unit
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import MOST_QUERIES
from exporter.network import Array
from exporter.recipe_tables import BoxPart

MOST = 0.9
"""So large a share of all boxes, the empty ones left out, shows the unit."""

NEGATIVE = 0.25
"""Of boxes in a frame no larger share of the numbers is negative, with those that leave it at the left and the top."""

BEST = 20
LEAST_SCORE = 0.3
"""The best boxes of each image are looked at, if their scores are at least this."""


def judge_unit(
    head: DetectHead, seen: GridReading | None, parts: Sequence[Candidates[Array]]
) -> DetectHead:
    """Return the head with the unit that the grid shows, or that the numbers leave no doubt of.

    A detector of queries needs no suppression; one whose boxes lie on a grid does, in whatever unit they are.

    Args:
        head: with its activation settled.
        seen: what the grid shows.
        parts: the candidates on real images.

    Raises:
        RecipeError: another unit is stated than the grid shows.
    """
    by_grid = seen.unit if seen is not None else None
    is_assumed = "unit" in head.assumed
    shown = by_grid or (_shown(head, parts) if is_assumed else None)
    if head.recipe.decoder == "detr" and head.assumes_nms_free:
        on_grid = seen is not None and bool(seen.unit or seen.form or seen.could_be)
        is_dense = on_grid or (shown == "pixel" and head.anchors > MOST_QUERIES)
        head = _dense(head) if is_dense else head
    if shown is None:
        return head
    if shown != head.recipe.box_unit and not is_assumed:
        raise RecipeError(
            f"Boxes are stated to be in {head.recipe.box_unit}s, but on real images they follow the cells of the grid "
            f"in {shown}s. Give --box-unit {shown}"
        )
    recipe = head.recipe.model_copy(update={"box_unit": shown})
    return replace(head, recipe=recipe, assumed=without(head, "unit"))


def best_boxes(head: DetectHead, part: Candidates[Array]) -> Array:
    """Return the best boxes of one image as the network gives them, (B, 4)."""
    scores, anchors, _ = (values[0] for values in head.pairs(part))
    order = np.argsort(-scores)[:BEST]
    order = order[scores[order] >= LEAST_SCORE]
    boxes: Array = part.boxes[0][anchors[order]]
    return boxes


def without(head: DetectHead, part: BoxPart) -> tuple[BoxPart, ...]:
    """Return what is assumed of the boxes, less a part that is known."""
    return tuple(one for one in head.assumed if one != part)


def _dense(head: DetectHead) -> DetectHead:
    """Return the head for YOLOv8's rows, which the shape alone does not tell from queries."""
    form = {"nms_free": False}
    if "one_class_a_box" not in head.recipe.model_fields_set:
        form["one_class_a_box"] = True
    return replace(head, recipe=head.recipe.model_copy(update=form))


def _shown(head: DetectHead, parts: Sequence[Candidates[Array]]) -> Unit | None:
    """Return the unit that the size of the numbers shows; the best boxes count where there are any.

    Small numbers of which many are negative are no unit of the frame, but may be offsets from anchors.
    """
    rows = np.concatenate([one.boxes.reshape(-1, 4) for one in parts])
    reach = np.abs(rows).max(axis=1)
    is_box = np.isfinite(reach) & (reach > 0)
    rows, reach = rows[is_box], reach[is_box]
    if not len(reach):
        return None
    best = np.concatenate([best_boxes(head, one) for one in parts])
    largest = np.abs(best).max(axis=1) if len(best) else reach
    if float(np.median(largest)) > FRAME:
        return "pixel"
    is_small = float(np.quantile(reach, MOST)) <= FRAME and float(largest.max()) <= FRAME
    if is_small and float(np.mean(rows < 0)) <= NEGATIVE:
        return "frame"
    return None
