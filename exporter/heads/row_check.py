"""Whether the rows of a detector hold a score and a class id where its decoder reads them; a box's shape is no proof.

A YOLOv5 of one class and a DETR of two have six columns as an end-to-end YOLO has, one class more makes seven.
"""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import COLUMNS
from exporter.heads.score_kind import in_unit_range
from exporter.network import Array

_SWAPPED = {
    "yolov7": "efficientdet",
    "efficientdet": "yolov7",
    "end2end": "class_score",
    "class_score": "end2end",
}
"""The decoder that reads the score where another one reads the class, and the reverse."""

_CORNERS_FIRST = {"end2end", "class_score"}
"""The decoders of rows that begin with a box, as those of a DETR or YOLOv5 of the same width do."""

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
    if decoder in _ONE_SCORE:
        _refuse_ids_as_scores(decoder, parts)
    elif decoder in _ALL_SCORES and head.columns == _TWO:
        _refuse_ids_beside_scores(decoder, parts)
    elif decoder in {*ROW_ORDERS, *_TENSORS} and not head.is_known:
        _check_columns(head, parts)


def _check_columns(head: DetectHead, parts: Sequence[Candidates[Array]]) -> None:
    decoder = head.recipe.decoder
    rows = [_filled(one) for one in parts]
    boxes, scores, kinds = (np.concatenate(same) for same in zip(*rows, strict=True))
    if not len(kinds):
        return
    whole = bool(np.all(np.abs(kinds - np.round(kinds)) < 1e-3))
    if decoder in _TENSORS:
        if not whole:
            raise RecipeError(
                f"--decoder {decoder}: where the class id must be, real images give {_span(kinds)}. Name the outputs "
                f"in this order: --decoder {decoder} --outputs {_TENSORS[decoder]}"
            )
        return
    if not whole and in_unit_range([kinds]) and np.array_equal(scores, np.round(scores)):
        step = (
            f"Give --decoder {_SWAPPED[decoder]}"
            if decoder in _SWAPPED
            else f"Export the network with the columns in the order of {ROW_ORDERS[decoder]}"
        )
        raise RecipeError(
            f"--decoder {decoder}: where the score must be, real images give whole numbers, and {_span(kinds)} where "
            f"the class must be: the two are exchanged. {step}"
        )
    if not whole and decoder == "end2end" and (first := _first_columns(boxes)):
        step = (
            "Give --decoder paddle"
            if first == "class, score"
            else "Export the network with the columns in the order of box, score, class"
        )
        raise RecipeError(
            f"The output of 6 columns begins with a whole number and a value in 0 to 1, as rows of {first}, box do. "
            f"{step}"
        )
    what = f"where the class id must be, real images give {_span(kinds)}"
    if whole:
        ordered = float(np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
        if decoder not in _CORNERS_FIRST or ordered >= LEAST_ORDERED or np.ptp(kinds) > 0:
            return
        if head.recipe.box_format != "xyxy":
            return
        what = (
            f"all classes are {kinds[0]:.0f}, and only {ordered:.0%} of the boxes have their second corner below "
            "and to the right of the first"
        )
    step = (
        "Export the network with its columns in this order"
        if decoder in {"detection_output", "paddle", "class_score", "efficientdet"}
        else "State what it is: --decoder yolov5 (box, objectness, one score for each class), --decoder yolov8_rows "
        "(box, one score for each class) or --decoder detr (the same, and one box for each object)"
    )
    columns = ROW_ORDERS[decoder].count(",") + 4
    raise RecipeError(
        f"The output of {columns} columns looks like {ROW_ORDERS[decoder]}, --decoder {decoder}, but {what}. {step}"
    )


def _refuse_ids_as_scores(decoder: str, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse the score of a single class that is 0 in every row: it is an id, and nothing would be found."""
    scores = np.concatenate([one.scores.reshape(-1, one.scores.shape[-1]) for one in parts])
    if scores.shape[-1] == 1 and len(scores) and not scores.any():
        raise RecipeError(
            f"--decoder {_ONE_SCORE[decoder]}: the last of the 6 columns must be the score of the class, but it is 0 "
            f"in every box, as the id of the only class is. {_step(decoder)}"
        )


def _refuse_ids_beside_scores(decoder: str, parts: Sequence[Candidates[Array]]) -> None:
    """Refuse scores of two classes of which one has whole numbers alone, as ids are, and the other has not."""
    scores = np.concatenate([one.scores.reshape(-1, _TWO) for one in parts])
    are_whole = (scores == np.round(scores)).all(axis=0)
    if are_whole.sum() != 1:
        return
    ids, others = scores[:, are_whole], scores[:, ~are_whole]
    # A score of exactly one in every box is that of a background.
    if np.ptp(ids) > 0 and in_unit_range([others]):
        raise RecipeError(
            f"--decoder {decoder} reads the scores of two classes behind the box, but on real images one of the two "
            f"columns holds whole numbers alone, {_span(ids)}, as the number of a class is. "
            f"{_step(decoder)}"
        )


def _step(decoder: str) -> str:
    """Return how to have rows of box, score and class read that another decoder does not read."""
    if decoder in _BY_COLUMNS:
        return (
            "No --decoder reads a score and the number of a class from columns: export the network with rows, (N, A, "
            "6), as output.transpose(1, 2) gives"
        )
    return "Give --decoder end2end (box, score, class), or class_score (box, class, score)"


def _first_columns(boxes: Array) -> str:
    """Return what the first two columns are where one is a class id and the other a score; empty where they are not."""
    first, second = boxes[:, 0], boxes[:, 1]
    for name, scores, kinds in (("class, score", second, first), ("score, class", first, second)):
        if (
            in_unit_range([scores])
            and np.array_equal(kinds, np.round(kinds))
            and not np.array_equal(scores, np.round(scores))
        ):
            return name
    return ""


ROW_ORDERS = {
    "end2end": "box, score, class",
    "paddle": "class, score, box",
    "class_score": "box, class, score",
    "yolov7": "image, box, class, score",
    "efficientdet": "image, box, score, class",
    "detection_output": "image, class, score, box",
}
"""The columns of a row, by decoder."""

_TWO = 2
_ALL_SCORES = {"yolov8", "yolov8_rows", "detr"}
"""The decoders that read a score of each class behind the box; of two classes from six values."""

_ONE_SCORE = {"yolov5": "yolov5", "yolov5_columns": "yolov5_columns", COLUMNS: "yolov5_columns"}
"""The decoders that read an objectness and the score of one class from six values, as they are stated."""

_BY_COLUMNS = {"yolov8", "yolov5_columns", COLUMNS}

_TENSORS = {"triple": "BOXES,SCORES,CLASSES", "mmdet": "BOXES,CLASSES"}
"""The outputs of decoders that read the classes from one of their own."""


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
