"""Boxes relative to their cells, as YOLOX's: whether they are in the frame all the same, or distances to their sides.

`detector_steps` lists these steps in the order in which they are tried.

Distances are seen by neighbors. Several cells find the same object. From one of them to the next on the right, the
distance to its left side grows and the one to its right side shrinks; of YOLOX's numbers the offset of its center
shrinks, and its width stays.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_unit import LEAST_SCORE, without
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import Boxes, Settled
from exporter.heads.grids import grid_size, grid_strides
from exporter.heads.open_decoder import are_relative
from exporter.network import Array
from service.card import ImageInput

FEWEST = 10
"""So many neighbors that both find something show what their numbers are, in rows as well as in columns."""

MOST = 0.6
"""Of so large a share of them the distances change as those to two sides do; of other numbers few do by chance."""


def refuse_decoded(known: Boxes) -> None:
    """Refuse that boxes in a unit are relative to their cells."""
    seen = known.seen
    if known.are_relative and seen is not None and seen.unit is not None:
        raise RecipeError(
            "--decoder yolox says that boxes are relative to their cells, but on real images they lie on the grid in "
            f"{seen.unit}s already. Give --decoder yolov5, or leave it out"
        )


def refuse_sides(known: Boxes) -> None:
    """Refuse boxes relative to their cells, one for each, that are distances to their sides.

    Raises:
        RecipeError: the message says how to get boxes.
    """
    if not known.are_relative:
        return
    marks: tuple[list[Array], list[Array]] = ([], [])
    for part in known.parts:
        for boxes, is_clear in _levels(known.head, part, known.image_input):
            for axis, found in enumerate(marks):
                found.append(_narrowing(boxes, is_clear, axis))
    shares = [_share(np.concatenate(found)) for found in marks if found]
    if shares and min(shares) >= MOST:
        raise RecipeError(
            "--decoder yolox says that boxes are offsets from their cells and logarithms of sizes, but on real images "
            "they look like distances from the cells to the four sides, as FCOS has them. No --decoder reads these. "
            "Export the network with its decoding: from the call that gives boxes, or as "
            "python:package.module:callable with a forward that gives x_min, y_min, x_max, y_max"
        )


def settle_relative(known: Boxes) -> Settled | None:
    """Return the head of boxes relative to their cells, which have one form and one unit."""
    if not known.are_relative:
        return None
    assumed = without(known.head, "unit") if known.is_open else ()
    return Settled(replace(known.head, assumed=assumed))


def refuse_relative(known: Boxes) -> None:
    """Refuse that boxes relative to their cells are those of the frame."""
    if known.seen is not None or known.every is None or known.head.recipe.decoder != "yolov5":
        return
    if are_relative(known.every, known.image_input):
        raise RecipeError(
            "--decoder yolov5 says that boxes are those of the frame, but on real images they look like offsets from "
            "the cells of a grid and logarithms of sizes. Give --decoder yolox"
        )


def _levels(
    head: DetectHead, part: Candidates[Array], image_input: ImageInput
) -> Iterator[tuple[Array, Array]]:
    """Yield the boxes (rows, columns, 4) of one image on each grid, and whether each is clear (rows, columns)."""
    scores, anchors, _ = (values[0] for values in head.pairs(part))
    best = np.zeros(head.anchors)
    np.maximum.at(best, anchors, scores)
    first = 0
    for stride in grid_strides(head.anchors, image_input) or ():
        size = grid_size(stride, image_input)
        last = first + size[0] * size[1]
        yield (
            part.boxes[0][first:last].reshape(*size, 4),
            best[first:last].reshape(size) >= LEAST_SCORE,
        )
        first = last


def _narrowing(boxes: Array, is_clear: Array, axis: int) -> Array:
    """Return of each two clear neighbors along x (axis 0) or y whether one distance grows and the opposite shrinks."""
    along = 1 - axis
    change = np.diff(boxes, axis=along)
    both = np.delete(is_clear, -1, axis=along) & np.delete(is_clear, 0, axis=along)
    marks: Array = ((change[..., axis] > 0) & (change[..., axis + 2] < 0))[both]
    return marks


def _share(marks: Array) -> float:
    return float(marks.mean()) if len(marks) >= FEWEST else 0.0
