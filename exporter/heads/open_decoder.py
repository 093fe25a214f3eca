"""What the shape of one output leaves open: whether boxes are relative to cells, and what the fifth value of one is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.box_grid import GridReading, read_grid
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.grids import grid_strides
from exporter.heads.score_kind import graph_ends, in_unit_range, sums_to_one
from exporter.network import Array
from service.card import ImageInput

NEAR = 8.0
"""Offsets from a cell, in strides, and logarithms of sizes in strides are hardly ever larger."""

ALL = 0.99
"""So large a share of boxes or their numbers counts as all: some networks have single boxes that are odd."""

BOTH_SIGNS = 0.05
"""At least so many boxes have a negative offset or logarithm; distances from a cell to the sides have none."""

NOTHING = 0.05
"""An objectness below this is that of a cell without an object."""

CONDITIONAL = 0.1
"""The best class of a cell without an object has at least this score where it is to be multiplied by an objectness."""

_TURNED = {"Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze"}


def settle_rows(
    head: DetectHead, seen: GridReading | None, boxes: Array, image_input: ImageInput
) -> DetectHead:
    """Return the head of an output (N, A, 5 + K) with its decoder, yolov5 or yolox.

    Args:
        head: whose decoder is ROWS.
        seen: what the grid shows of the boxes.
        boxes: on real images, (I, A, 4).
        image_input: the network's.

    Raises:
        RecipeError: the boxes are neither on the grid nor relative to it.
    """
    stated = None if "format" in head.assumed else head.recipe.box_format
    if seen is not None or stated not in {None, "grid"}:
        return _with(head, decoder="yolov5")
    if stated == "grid" or are_relative(boxes, image_input):
        return _with(head, decoder="yolox", box_format="grid")
    raise RecipeError(
        f"The output has {head.anchors} boxes, one for each cell of a grid. They may be YOLOX's, relative to their "
        "cells, or YOLOv6's, in pixels; on real images they look like neither. Distances from the cells to the sides "
        "of boxes, as FCOS has them, no --decoder reads: export the network with its decoding. Else state what they "
        "are: --decoder yolox or yolov5"
    )


def are_relative(boxes: Array, image_input: ImageInput) -> bool:
    """Return whether boxes (I, A, 4), one for each cell of a grid, can be offsets and logarithms of sizes."""
    rows = boxes.reshape(-1, 4).astype(np.float64)
    return (
        grid_strides(boxes.shape[1], image_input) is not None
        and float(np.mean(np.abs(rows) <= NEAR)) >= ALL
        and float(np.mean((rows < 0).any(axis=1))) >= BOTH_SIGNS
    )


def settle_columns(
    head: DetectHead,
    parts: Sequence[Candidates[Array]],
    graph: Graph,
    raw: str,
    image_input: ImageInput,
) -> DetectHead:
    """Return the head of an output (N, 5 + K, A) for K labels, if its fifth value is an objectness.

    It is where the boxes lie on a grid, the last value comes from a sigmoid or softmax, and most cells have no object
    but a clear best class, which is not the last one alone. If the fifth value were the score of a class, such cells
    would have none, unless it is the background's: then all values sum to one.

    Args:
        head: whose decoder is COLUMNS.
        parts: the candidates on real images.
        graph: computes the output.
        raw: its name.
        image_input: the network's.

    Raises:
        RecipeError: the fifth value may be the score of a class too.
    """
    scores = np.concatenate([one.scores for one in parts])
    objectness = np.concatenate([one.objectness for one in parts if one.objectness is not None])
    boxes = np.concatenate([one.boxes for one in parts])
    empty = objectness[..., 0] < NOTHING
    # A last column that is clear alone may be that of a quality, as FCOS' centerness, which training does not look at
    # there either. With a single class it does not matter which of the two is multiplied by the other.
    classes = scores if scores.shape[2] == 1 else scores[..., :-1]
    if (
        in_unit_range([scores, objectness])
        and not sums_to_one([np.concatenate([objectness, scores], axis=2)], axis=2)
        and float(np.mean(empty)) >= 0.5
        and float(np.median(classes.max(axis=2)[empty])) >= CONDITIONAL
        and _ends_of_last(graph, raw) <= {"sigmoid", "softmax"}
        and read_grid(boxes, image_input) is not None
    ):
        return _with(head, decoder="yolov5_columns")
    labels = head.columns
    raise RecipeError(
        f"The output (N, {labels + 5}, {head.anchors}) has {labels + 1} values beside a box, and there are {labels} "
        "labels. If the fifth is an objectness, as YOLOv5 has it, state --decoder yolov5_columns; if it is the score "
        "of a class, such as the background, give its label too (--decoder yolov8 with "
        f"{labels + 1} labels). The angle of rotated boxes can not be served"
    )


def _with(head: DetectHead, **fields: str) -> DetectHead:
    return replace(head, recipe=head.recipe.model_copy(update=fields))


def _ends_of_last(graph: Graph, tensor: str) -> set[str]:
    """Return what the last of the parts that a tensor is joined of comes from; see `graph_ends`."""
    producers = graph.producers()
    while (node := producers.get(tensor)) is not None:
        if node.op_type == "Concat":
            tensor = node.input[-1]
        elif node.op_type in _TURNED:
            tensor = node.input[0]
        else:
            break
    return graph_ends(graph, tensor)
