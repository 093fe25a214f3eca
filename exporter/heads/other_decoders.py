"""The decoders that the shape of a detector's only output could have, where the one that was taken does not fit."""

from exporter.errors import RecipeError
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import COLUMNS, ROWS
from exporter.heads.raw_levels import refuse_distributions

_BY_COLUMNS = {"yolov8": 4, "yolov5_columns": 5, COLUMNS: 5}
_BY_ROWS = {"yolov8_rows": 4, "detr": 4, "yolov5": 5, "yolox": 5, ROWS: 5}
"""By decoder, how many values a box has beside the scores, in a column or in a row of the output."""

_SCORE_AND_CLASS = 2
"""The columns that rows of six have behind the box."""


def other_decoders(head: DetectHead, labels: int) -> str:
    """Return the decoders that read one score for each label from the same output, in words; empty where none does."""
    taken = head.recipe.decoder
    if taken in _BY_COLUMNS:
        height, width = head.columns + _BY_COLUMNS[taken], head.anchors
    elif taken in _BY_ROWS:
        height, width = head.anchors, head.columns + _BY_ROWS[taken]
    else:
        return ""
    forms = (
        ("(N, 4 + K, A)", height - 4, ("yolov8",)),
        ("(N, 5 + K, A)", height - 5, ("yolov5_columns",)),
        ("(N, A, 4 + K)", width - 4, ("yolov8_rows", "detr")),
        ("(N, A, 5 + K)", width - 5, ("yolox", "yolov5")),
    )
    return ", or ".join(
        f"{shape}: --decoder {' or '.join(decoders)}"
        for shape, classes, decoders in forms
        if classes == labels > 0 and not set(decoders) & set(taken.split(" or "))
    )


def refuse_wrong_axis(head: DetectHead, labels: int) -> None:
    """Refuse a decoder that reads other classes than there are labels, where the output may be of another form.

    Args:
        head: of any decoder.
        labels: how many there are, 0 where none are known.

    Raises:
        RecipeError: the message names the other decoder, or how to export the network.
    """
    others = other_decoders(head, labels)
    if labels and others and head.columns and labels != head.classes:
        raise RecipeError(
            f"labels: {labels} are given, and --decoder {head.recipe.decoder} reads {head.columns} classes. For "
            f"{labels} labels the output may be {others}. State it, or give one label for each class: --labels FILE"
        )
    refuse_distributions(_values(head), labels)
    if labels and head.recipe.decoder == "yolov8" and head.columns == _SCORE_AND_CLASS != labels:
        raise RecipeError(
            f"labels: {labels} are given, and --decoder yolov8 reads the output (N, 6, A) as boxes with the scores of "
            f"{_SCORE_AND_CLASS} classes. If these are a score and the number of a class, no --decoder reads them from "
            "columns: export the network with rows, (N, A, 6), as output.transpose(1, 2) gives. Else give one label "
            "for each class: --labels FILE"
        )


def _values(head: DetectHead) -> int:
    """Return how many values each box has in the only output, 0 where boxes are an output of their own."""
    beside = {**_BY_COLUMNS, **_BY_ROWS}.get(head.recipe.decoder)
    return head.columns + beside if beside else 0
