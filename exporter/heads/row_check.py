"""Whether the rows of a detector hold a score and a class id where its decoder reads them; a box's shape is no proof.

A YOLOv5 of one class and a DETR of two have six columns as an end-to-end YOLO has, one class more makes seven.
"""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.score_kind import in_unit_range
from exporter.network import Array

_ROWS = {"end2end", "yolov7", "detection_output"}

LEAST_ORDERED = 0.5
"""At least this share of an end-to-end detector's boxes must have their second corner below and right of the first."""


def check_rows(head: DetectHead, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse class ids that are no integers, and rows whose boxes are not two corners and the classes all the same.

    Args:
        head: of any decoder.
        parts: the candidates on real images.

    Raises:
        RecipeError: the message names the decoders that could be right.
    """
    decoder = head.recipe.decoder
    if decoder not in {*_ROWS, "triple"} or head.is_known:
        return
    rows = [_filled(one) for one in parts]
    boxes, scores, kinds = (np.concatenate(same) for same in zip(*rows, strict=True))
    if not len(kinds):
        return
    whole = bool(np.all(np.abs(kinds - np.round(kinds)) < 1e-3))
    if decoder == "triple":
        if not whole:
            raise RecipeError(
                f"--decoder triple: where the class id must be, real images give {_span(kinds)}. Name the outputs in "
                "this order: --decoder triple --outputs BOXES,SCORES,CLASSES"
            )
        return
    if not whole and in_unit_range([kinds]) and np.array_equal(scores, np.round(scores)):
        raise RecipeError(
            f"--decoder {decoder}: where the score must be, real images give whole numbers, and {_span(kinds)} where "
            "the class must be: the two are exchanged. Export the network with the columns in the order of "
            f"{_ORDER[decoder]}"
        )
    if not whole and decoder == "end2end" and _has_class_and_score_first(boxes):
        raise RecipeError(
            "The output of 6 columns begins with a whole number and a value in 0 to 1, as rows of class, score, box "
            "do (PaddleDetection has these). No --decoder reads them. Export the network with the columns in the "
            "order of box, score, class"
        )
    what = f"where the class id must be, real images give {_span(kinds)}"
    if whole:
        ordered = float(np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
        if decoder != "end2end" or ordered >= LEAST_ORDERED or np.ptp(kinds) > 0:
            return
        if head.recipe.box_format != "xyxy":
            return
        what = (
            f"all classes are {kinds[0]:.0f}, and only {ordered:.0%} of the boxes have their second corner below "
            "and to the right of the first"
        )
    step = (
        "Export the network with its columns in this order"
        if decoder == "detection_output"
        else "State what it is: --decoder yolov5 (box, objectness, one score for each class) or --decoder detr (box, "
        "one score for each class)"
    )
    raise RecipeError(
        f"The output of {_COLUMNS[decoder]} columns looks like {_ORDER[decoder]}, --decoder {decoder}, but {what}. "
        f"{step}"
    )


def _has_class_and_score_first(boxes: Array) -> bool:
    """Return whether of the first two columns one is a class id and the other a score, in either order."""
    first, second = boxes[:, 0], boxes[:, 1]
    return any(
        in_unit_range([scores])
        and np.array_equal(kinds, np.round(kinds))
        and not np.array_equal(scores, np.round(scores))
        for kinds, scores in ((first, second), (second, first))
    )


_COLUMNS = {"end2end": 6, "yolov7": 7, "detection_output": 7}
_ORDER = {
    "end2end": "box, score, class",
    "yolov7": "image, box, class, score",
    "detection_output": "image, class, score, box",
}


def _filled(part: Candidates[Array]) -> tuple[Array, Array, Array]:
    """Return boxes (R, 4), scores (R,) and class ids (R,) of the rows that are not filled up with zeros."""
    assert part.classes is not None
    rows = np.column_stack(
        [part.boxes.reshape(-1, 4), part.scores.reshape(-1), part.classes.reshape(-1)]
    ).astype(np.float64)
    # Some networks give the rows that fill up their list the class -1, or a score of 0.
    rows = rows[(rows[:, 4] != 0) & (rows[:, 5] != -1)]
    return rows[:, :4], rows[:, 4], rows[:, 5]


def _span(values: Array) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"
