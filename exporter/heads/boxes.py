"""Where a detector's raw outputs hold boxes, scores and classes, and what form its boxes have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from onnx import TensorProto

from exporter.graph import Graph, floats, integers
from exporter.heads.grids import grid_size, grid_strides
from exporter.heads.one_output import COLUMNS, ROWS, SEVEN, SIX
from exporter.network import Array
from exporter.recipe_tables import DetectRecipe
from service.card import ImageInput

T = TypeVar("T")

FARTHEST = 1e4
"""Boxes are cut so many frames from the frame's corner: an infinite side would have no IoU and no place in JSON."""


@dataclass(frozen=True, slots=True)
class Candidates(Generic[T]):
    """The parts of a detector's raw outputs: tensors' names in a graph, arrays in numpy.

    boxes (N, A, 4); scores (N, A, K), or (N, A) beside `classes` (N, A); objectness (N, A, 1).
    """

    boxes: T
    scores: T
    objectness: T | None = None
    classes: T | None = None


class Decoder(Protocol):
    """Finds the candidates in raw outputs."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]: ...

    def split(self, raw: Sequence[Array]) -> Candidates[Array]: ...


class PairDecoder:
    """Two outputs, boxes (N, A, 4) and scores (N, A, K); axes of size one inside the boxes are dropped."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        four = graph.constant("box_shape", integers(0, -1, 4))
        return Candidates(graph.add("Reshape", [raw[0], four]), raw[1])

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0].reshape(len(raw[0]), -1, 4), raw[1])


class PairObjectnessDecoder:
    """Three outputs, those of `PairDecoder` and an objectness, (N, A) with any axes of size one."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        found = PairDecoder().graft(graph, raw)
        one = graph.constant("one_a_box", integers(0, -1, 1))
        return Candidates(found.boxes, found.scores, graph.add("Reshape", [raw[2], one]))

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        found = PairDecoder().split(raw)
        return Candidates(found.boxes, found.scores, raw[2].reshape(len(raw[2]), -1, 1))


class ObjectnessDecoder:
    """One output (N, A, 5 + K): box, objectness, class scores; Ultralytics' YOLOv5."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        parts = [_columns(graph, raw[0], *bounds) for bounds in ((0, 4), (5, _END), (4, 5))]
        return Candidates(*parts)

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0][..., :4], raw[0][..., 5:], raw[0][..., 4:5])


class ObjectnessColumnDecoder:
    """One output (N, 5 + K, A): box, objectness, class scores; one column for each box."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        rows = graph.add("Transpose", [raw[0]], perm=[0, 2, 1])
        return ObjectnessDecoder().graft(graph, [rows])

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return ObjectnessDecoder().split([raw[0].transpose(0, 2, 1)])


class ColumnDecoder:
    """One output (N, 4 + K, A), one column for each box; Ultralytics' YOLOv8 and YOLO11."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        rows = graph.add("Transpose", [raw[0]], perm=[0, 2, 1])
        return Candidates(_columns(graph, rows, 0, 4), _columns(graph, rows, 4, _END))

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        rows = raw[0].transpose(0, 2, 1)
        return Candidates(rows[..., :4], rows[..., 4:])


class RowDecoder:
    """One output (N, A, C), one row for each box, with the class that the network has chosen.

    Args:
        box: the column where xyxy begins.
        score: the score's.
        kind: the class's.
        empty: what the whole row is where an image has no box, and gets zeros; None where there is no such row.
    """

    def __init__(self, *, box: int, score: int, kind: int, empty: float | None = None) -> None:
        self._box, self._score, self._kind, self._empty = box, score, kind, empty

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        rows = raw[0]
        last = graph.constant("last_axis", integers(-1))
        if self._empty is not None:
            both = [_columns(graph, rows, at, at + 1) for at in (self._score, self._kind)]
            empty = graph.constant("empty", floats(self._empty))
            is_empty = graph.add("And", [graph.add("Equal", [one, empty]) for one in both])
            rows = graph.add("Where", [is_empty, graph.constant("zero", floats(0.0)), rows])
        score, kind = (
            graph.add("Squeeze", [_columns(graph, rows, at, at + 1), last])
            for at in (self._score, self._kind)
        )
        return Candidates(_columns(graph, rows, self._box, self._box + 4), score, classes=kind)

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        rows = raw[0]
        if self._empty is not None:
            is_empty = (rows[..., [self._score, self._kind]] == self._empty).all(axis=-1)
            rows = np.where(is_empty[..., None], 0, rows).astype(rows.dtype)
        box = rows[..., self._box : self._box + 4]
        return Candidates(box, rows[..., self._score], classes=rows[..., self._kind])


class ScoredBoxDecoder:
    """Two outputs, xyxy and score (N, A, 5) and classes (N, A); MMDetection's networks from mmdeploy."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        last = graph.constant("last_axis", integers(-1))
        score = graph.add("Squeeze", [_columns(graph, raw[0], 4, 5), last])
        return Candidates(_columns(graph, raw[0], 0, 4), score, classes=raw[1])

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0][..., :4], raw[0][..., 4], classes=raw[1])


class DetectionOutputDecoder:
    """One output (N, 1, A, 7): image, class, score, xyxy; the layer DetectionOutput of Caffe and OpenVINO.

    An image below 0 ends the list: what is behind it is left from before, and gets the score 0.
    """

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        rows = graph.add("Reshape", [raw[0], graph.constant("rows", integers(0, -1, 7))])
        last = graph.constant("last_axis", integers(-1))
        image, kind, score = (
            graph.add("Squeeze", [_columns(graph, rows, at, at + 1), last]) for at in range(3)
        )
        zero = graph.constant("zero", floats(0.0))
        ends = graph.add("Cast", [graph.add("Less", [image, zero])], to=TensorProto.FLOAT)
        passed = graph.add("CumSum", [ends, graph.constant("row_axis", integers(1))])
        is_listed = graph.add("Equal", [passed, zero])
        scores = graph.add("Where", [is_listed, score, zero])
        return Candidates(_columns(graph, rows, 3, _END), scores, classes=kind)

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        rows = raw[0].reshape(len(raw[0]), -1, 7)
        is_listed = np.cumsum(rows[..., 0] < 0, axis=1) == 0
        scores = np.where(is_listed, rows[..., 2], 0).astype(rows.dtype)
        return Candidates(rows[..., 3:], scores, classes=rows[..., 1])


class QueryDecoder:
    """One output (N, Q, 4 + K): box, class scores; Ultralytics' RT-DETR, and YOLOv8 transposed."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        return Candidates(_columns(graph, raw[0], 0, 4), _columns(graph, raw[0], 4, _END))

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0][..., :4], raw[0][..., 4:])


class TripleDecoder:
    """Three outputs, boxes (N, A, 4), scores (N, A) and classes (N, A): the network has chosen each box's class."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        four = graph.constant("box_shape", integers(0, -1, 4))
        return Candidates(graph.add("Reshape", [raw[0], four]), raw[1], classes=raw[2])

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0].reshape(len(raw[0]), -1, 4), raw[1], classes=raw[2])


DECODERS: dict[str, Decoder] = {
    "pair": PairDecoder(),
    "pair_objectness": PairObjectnessDecoder(),
    "yolov5": ObjectnessDecoder(),
    "yolov5_columns": ObjectnessColumnDecoder(),
    "yolov8": ColumnDecoder(),
    "end2end": RowDecoder(box=0, score=4, kind=5),
    "class_score": RowDecoder(box=0, score=5, kind=4),
    "paddle": RowDecoder(box=2, score=1, kind=0, empty=-1.0),
    "yolov7": RowDecoder(box=1, score=6, kind=5),
    "efficientdet": RowDecoder(box=1, score=5, kind=6),
    "mmdet": ScoredBoxDecoder(),
    "yolox": ObjectnessDecoder(),
    "yolov8_rows": QueryDecoder(),
    "detr": QueryDecoder(),
    "triple": TripleDecoder(),
    "detection_output": DetectionOutputDecoder(),
    SIX: RowDecoder(box=0, score=4, kind=5),
    SEVEN: RowDecoder(box=1, score=6, kind=5),
    ROWS: ObjectnessDecoder(),
    COLUMNS: ObjectnessColumnDecoder(),
}

_END = 2**31 - 1

Y_FIRST = {"yxyx": "xyxy", "yxhw": "xywh", "cycxhw": "cxcywh"}
"""Each format that has y before x and height before width, and the one with the other order."""

EXCHANGED_ORDER = (1, 0, 3, 2)
"""The places of the four numbers in the other order."""

_CORNERS = {
    "xywh": ((1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)),
    "cxcywh": ((1, 0, -0.5, 0), (0, 1, 0, -0.5), (1, 0, 0.5, 0), (0, 1, 0, 0.5)),
}
_CORNERS["grid"] = _CORNERS["cxcywh"]
"""For a box given by a point and its size: the matrix whose rows compute x_min, y_min, x_max and y_max."""


def graft_xyxy(
    graph: Graph, boxes: str, recipe: DetectRecipe, image_input: ImageInput, anchors: int
) -> str:
    """Add the nodes that turn boxes (N, A, 4) into xyxy in 0–1 of the frame, and return their tensor."""
    form = Y_FIRST.get(recipe.box_format, recipe.box_format)
    if recipe.box_format in Y_FIRST:
        order = graph.constant("x_first", integers(*EXCHANGED_ORDER))
        boxes = graph.add("Gather", [boxes, order], axis=2)
    if form != "xyxy":
        if form == "grid":
            boxes = _graft_grid(graph, boxes, *_grid(anchors, image_input))
        matrix = np.array(_CORNERS[form], np.float32).T
        boxes = graph.add("MatMul", [boxes, graph.constant("corners", matrix)])
    if recipe.box_unit == "frame" and recipe.box_format != "grid":
        return boxes
    unit = 1 / floats(image_input.width, image_input.height, image_input.width, image_input.height)
    return graph.add("Mul", [boxes, graph.constant("unit", unit)])


def xyxy(boxes: Array, recipe: DetectRecipe, image_input: ImageInput) -> Array:
    """Return boxes (N, A, 4) as xyxy in 0–1 of the frame."""
    if recipe.box_format == "grid":
        cells, strides = _grid(boxes.shape[1], image_input)
        boxes = np.concatenate([boxes[..., :2] + cells, np.exp(boxes[..., 2:])], axis=-1) * strides
    if recipe.box_format in Y_FIRST:
        boxes = boxes[..., list(EXCHANGED_ORDER)]
    a, b, c, d = np.moveaxis(boxes.astype(np.float64), -1, 0)
    corners = {
        "xyxy": lambda: (a, b, c, d),
        "xywh": lambda: (a, b, a + c, b + d),
        "grid": lambda: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
        "cxcywh": lambda: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    }[Y_FIRST.get(recipe.box_format, recipe.box_format)]()
    corners_xyxy = np.stack(corners, axis=-1)
    if recipe.box_unit == "frame" and recipe.box_format != "grid":
        return corners_xyxy
    return corners_xyxy / (
        image_input.width,
        image_input.height,
        image_input.width,
        image_input.height,
    )


def _graft_grid(graph: Graph, boxes: str, cells: Array, strides: Array) -> str:
    """Add the nodes that turn boxes relative to a grid's cells into center and size in pixels."""
    four = graph.constant("split", integers(2, 2))
    offset, size = graph.add_many("Split", [boxes, four], outputs=2, axis=2)
    center = graph.add("Add", [offset, graph.constant("cells", cells)])
    both = graph.add("Concat", [center, graph.add("Exp", [size])], axis=2)
    return graph.add("Mul", [both, graph.constant("strides", strides)])


def _grid(anchors: int, image_input: ImageInput) -> tuple[Array, Array]:
    """Return the cell of each box (1, A, 2) as column and row, and its stride (1, A, 1), float32; see `_graft_grid`."""
    cells, sizes = [], []
    for stride in grid_strides(anchors, image_input) or ():
        rows, columns = grid_size(stride, image_input)
        row, column = np.divmod(np.arange(rows * columns), columns)
        cells.append(np.stack([column, row], axis=1))
        sizes.append(np.full((rows * columns, 1), stride))
    return (
        np.concatenate(cells)[None].astype(np.float32),
        np.concatenate(sizes)[None].astype(np.float32),
    )


def _columns(graph: Graph, rows: str, first: int, end: int) -> str:
    bounds = [graph.constant("bound", integers(value)) for value in (first, end, 2)]
    return graph.add("Slice", [rows, *bounds])
