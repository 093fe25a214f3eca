"""Where a detector's raw outputs hold boxes, scores and classes, and what form its boxes have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from exporter.graph import Graph, floats, integers
from exporter.network import Array
from exporter.recipe import DetectRecipe
from service.card import ImageInput

T = TypeVar("T")


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


class ObjectnessDecoder:
    """One output (N, A, 5 + K): box, objectness, class scores; Ultralytics' YOLOv5."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        parts = [_columns(graph, raw[0], *bounds) for bounds in ((0, 4), (5, _END), (4, 5))]
        return Candidates(*parts)

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0][..., :4], raw[0][..., 5:], raw[0][..., 4:5])


class ColumnDecoder:
    """One output (N, 4 + K, A), one column for each box; Ultralytics' YOLOv8 and YOLO11."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        rows = graph.add("Transpose", [raw[0]], perm=[0, 2, 1])
        return Candidates(_columns(graph, rows, 0, 4), _columns(graph, rows, 4, _END))

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        rows = raw[0].transpose(0, 2, 1)
        return Candidates(rows[..., :4], rows[..., 4:])


class NamedDecoder:
    """One output (N, A, 6): xyxy, score, class; end-to-end YOLOs, which contain their own suppression."""

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        boxes = _columns(graph, raw[0], 0, 4)
        last = graph.constant("last_axis", integers(-1))
        score, kind = (
            graph.add("Squeeze", [_columns(graph, raw[0], at, at + 1), last]) for at in (4, 5)
        )
        return Candidates(boxes, score, classes=kind)

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        return Candidates(raw[0][..., :4], raw[0][..., 4], classes=raw[0][..., 5])


DECODERS: dict[str, Decoder] = {
    "pair": PairDecoder(),
    "yolov5": ObjectnessDecoder(),
    "yolov8": ColumnDecoder(),
    "end2end": NamedDecoder(),
}

_END = 2**31 - 1

_CORNERS = {
    "xywh": ((1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)),
    "cxcywh": ((1, 0, -0.5, 0), (0, 1, 0, -0.5), (1, 0, 0.5, 0), (0, 1, 0, 0.5)),
}
"""For a box given by a point and its size: the matrix whose rows compute x_min, y_min, x_max and y_max."""


def graft_xyxy(graph: Graph, boxes: str, recipe: DetectRecipe, image_input: ImageInput) -> str:
    """Add the nodes that turn boxes (N, A, 4) into xyxy in 0–1 of the frame, and return their tensor."""
    if recipe.box_format == "yxyx":
        order = graph.constant("xyxy", integers(1, 0, 3, 2))
        boxes = graph.add("Gather", [boxes, order], axis=2)
    elif recipe.box_format != "xyxy":
        matrix = np.array(_CORNERS[recipe.box_format], np.float32).T
        boxes = graph.add("MatMul", [boxes, graph.constant("corners", matrix)])
    if recipe.box_unit == "frame":
        return boxes
    unit = 1 / floats(image_input.width, image_input.height, image_input.width, image_input.height)
    return graph.add("Mul", [boxes, graph.constant("unit", unit)])


def xyxy(boxes: Array, recipe: DetectRecipe, image_input: ImageInput) -> Array:
    """Return boxes (N, A, 4) as xyxy in 0–1 of the frame."""
    a, b, c, d = np.moveaxis(boxes.astype(np.float64), -1, 0)
    corners = {
        "xyxy": lambda: (a, b, c, d),
        "yxyx": lambda: (b, a, d, c),
        "xywh": lambda: (a, b, a + c, b + d),
        "cxcywh": lambda: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    }[recipe.box_format]()
    corners_xyxy = np.stack(corners, axis=-1)
    if recipe.box_unit == "frame":
        return corners_xyxy
    return corners_xyxy / (
        image_input.width,
        image_input.height,
        image_input.width,
        image_input.height,
    )


def _columns(graph: Graph, rows: str, first: int, end: int) -> str:
    bounds = [graph.constant("bound", integers(value)) for value in (first, end, 2)]
    return graph.add("Slice", [rows, *bounds])
