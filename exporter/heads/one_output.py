"""The decoder of a detector's boxes, scores and classes in one output, as its shape shows it."""

from exporter.heads.grids import grid_strides
from exporter.heads.raw_tensor import Dims
from service.card import ImageInput

MOST_QUERIES = 1000
"""A detection transformer has at most so many boxes."""

MOST_ROWS = 3000
"""A detector with its own suppression gives at most so many."""

ROWS = "yolov5 or yolox"
COLUMNS = "yolov5_columns or yolov8"
SIX = "end2end, paddle or class_score"
SEVEN = "yolov7 or efficientdet"
"""Decoders between which only values decide: whether boxes are relative to cells, what the fifth value is, and in which
order the columns are."""

_END_TO_END = 7
"""Rows of a box, a score and a class have 6 values, with the number of the image 7."""

_DETECTION_OUTPUT = 7
"""The values of a row of Caffe's and OpenVINO's layer DetectionOutput: image, class, score, box."""

_WIDER = 4
"""An output that is wider than high by more than this has its boxes in columns: classes are seldom so many more."""


def is_detection_output(dims: Dims) -> bool:
    """Return whether an output is (N, 1, A, 7), as that of the layer DetectionOutput."""
    return len(dims) == 4 and dims[1] == 1 and dims[3] == _DETECTION_OUTPUT


def decoder_of(dims: Dims, image_input: ImageInput, labels: int) -> str:
    """Return the decoder that the shape of a detector's only output shows, or several that values tell apart.

    Args:
        dims: the output's.
        image_input: the network's.
        labels: how many are known, 0 for none.
    """
    if len(dims) != 3:
        return "pair"
    rows, columns = dims[1:]
    # A hundred rows are the cells of 320 pixels at stride 32 too; labels tell which.
    is_other = labels > 0 and columns <= _END_TO_END and labels not in {columns - 5, columns - 4}
    by_rows = None if is_other else grid_strides(rows, image_input)
    # One grid alone is a coincidence: the 300 queries of RT-DETR are three times the cells of 320 pixels at stride 32.
    by_anchors = len(grid_strides(rows // 3, image_input) or ()) > 1
    if labels and (by_labels := _decoder_by_labels(rows, columns, labels, by_rows)) is not None:
        return by_labels
    # Of few boxes both axes may be those of a grid.
    is_by_rows = labels > 0 and columns == 5 + labels and rows != 4 + labels and by_rows
    shown = {
        "yolov8": rows > 4 and not is_by_rows and grid_strides(columns, image_input),
        SIX: columns == 6 and rows <= MOST_ROWS and not by_rows,
        SEVEN: columns == 7 and rows <= MOST_ROWS and not by_rows,
        "yolov5": columns > 5 and rows % 3 == 0 and by_anchors,
        ROWS: by_rows and columns > 5,
    }
    by_grid = next((decoder for decoder, is_shown in shown.items() if is_shown), None)
    if by_grid is not None:
        return by_grid
    if _is_column_wise(rows, columns, labels):
        return "yolov8"
    return "detr" if rows <= MOST_QUERIES and columns > 4 else "pair"


def _decoder_by_labels(
    rows: int, columns: int, labels: int, by_rows: tuple[int, ...] | None
) -> str | None:
    """Return the decoder of boxes with 4 + K values each, where one axis alone has that size for the K labels.

    YOLOv8's boxes are columns. As rows, which some exports transpose them to, they lie on a grid; DETR's do not.
    Columns of 5 + K values may be YOLOv5's.
    """
    if columns == 5 + labels or rows == columns == 4 + labels:
        return None
    if rows == 5 + labels and columns != 4 + labels:
        return COLUMNS
    if rows == 4 + labels:
        return "yolov8" if columns > _END_TO_END or labels > 1 else None
    if columns <= _END_TO_END and rows <= MOST_ROWS and not by_rows:
        return None  # six or seven columns may also be a box, its score and its class
    if columns != 4 + labels:
        return None
    return "yolov8_rows" if by_rows else "detr" if rows <= MOST_QUERIES else None


def _is_column_wise(rows: int, columns: int, labels: int) -> bool:
    """Return whether an output of no known number of boxes is (N, 4 + K, A): the axis that fits the labels shows it."""
    if labels and (rows == 4 + labels) != (columns == 4 + labels):
        return rows == 4 + labels
    return rows > 4 and columns > _WIDER * rows
