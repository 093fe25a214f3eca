"""More clear candidates than a graph returns → those that suppression keeps, then the best of the others.

An object of a crowd may have dozens of boxes, and a list of the best pairs of box and class then has no place for the
objects of lower scores. Where the clear candidates are more than the places, the graph suppresses them itself, and what
is kept gets a place first. The suppression of a request, by class and at the same IoU, then finds what it would find
among all of them: it keeps each candidate of the first suppression, since nothing better overlaps it, and drops each
other one, since what dropped it has a place. Other requests find at least these.

An image with fewer clear candidates gets the best ones, as without this, bit by bit.

The sizes inside depend on the image, so a GPU does not capture such a network as a CUDA graph.
"""

from math import ceil, sqrt

import numpy as np
from onnx import TensorProto, helper

from exporter.graph import Graph, integers

CLEAR = 0.05
"""A candidate of at least this score is clear; no default of a request shows one of less."""

NMS_IOU = 0.5
"""The default of requests."""

MOST_CONSIDERED = 16384
"""The largest number of candidates that are suppressed, which bounds the time: of more, the best are."""

_NEVER = 2.0
"""No score is above this."""

REACH = 4.0
"""Here a box is cut so many frames beyond the frame, for each class needs a place of its own. A box of an object that
is partly in the image hardly reaches so far."""

APART = 2 * REACH + 2
"""The distance of the places of two classes, in frames: one more than what is left of a box."""

SOME_CLASSES = 1024
"""So many classes are assumed where their number is unknown; more make the columns longer."""

_ZERO, _ONE = (helper.make_tensor("value", TensorProto.INT64, [1], [number]) for number in (0, 1))


def considered(graph: Graph, scores: str, least: int, most: int) -> str:
    """Return how many candidates to look at, int64 (1,): as many as the image with most clear ones has.

    Args:
        graph: gets the nodes.
        scores: (N, P).
        least: where there are fewer clear ones.
        most: P; at most MOST_CONSIDERED of them are looked at.
    """
    threshold = graph.constant("clear", np.array(CLEAR, np.float32))
    clear = graph.add("GreaterOrEqual", [scores, threshold])
    counted = graph.add("Cast", [clear], to=TensorProto.INT64)
    axis, first = (graph.constant("axis", integers(number)) for number in (1, 0))
    counts = graph.add("ReduceSum", [counted, axis], keepdims=0)
    largest = graph.add("ReduceMax", [counts, first], keepdims=1)
    at_least = graph.add("Max", [largest, graph.constant("least", integers(least))])
    limit = max(least, min(most, MOST_CONSIDERED))
    return graph.add("Min", [at_least, graph.constant("most", integers(limit))])


def places(
    graph: Graph, ranked: tuple[str, str, str], count: str, wanted: int, kinds: int | None
) -> str:
    """Return the places of the candidates to keep, int64 (N, D), the best first.

    Args:
        graph: gets the nodes.
        ranked: boxes, xyxy (N, P, 4) in 0–1 of the frame, which may reach beyond it; scores (N, P), the best first; and
            classes, int64 (N, P).
        count: P, int64 (1,).
        wanted: D, at most P.
        kinds: how many classes there are, None where that is unknown.
    """
    kept = _suppressed(graph, ranked, count, wanted, kinds)
    _, scores, _ = ranked
    ones = graph.add("ConstantOfShape", [graph.add("Shape", [scores])], value=_ONE)
    axis = graph.constant("along", np.array(1, np.int64))
    order = graph.add("CumSum", [ones, axis], exclusive=1)
    rows = graph.add("Gather", [graph.add("Shape", [kept]), graph.constant("rows", integers(0))])
    zeros = graph.add("ConstantOfShape", [rows], value=_ZERO)
    other = graph.add("ScatterND", [ones, kept, zeros])
    later = graph.add("Add", [order, graph.add("Mul", [other, count])])
    many = graph.constant("wanted", integers(wanted))
    first, _ = graph.add_many("TopK", [later, many], outputs=2, axis=1, largest=0)
    chosen = graph.add("Mod", [first, count])
    best_first, _ = graph.add_many("TopK", [chosen, many], outputs=2, axis=1, largest=0)
    return best_first


def _suppressed(
    graph: Graph, ranked: tuple[str, str, str], count: str, wanted: int, kinds: int | None
) -> str:
    """Return image and place of each candidate that suppression by class keeps, int64 (S, 2); none without a crowd.

    All classes are suppressed together, each shifted to a place of its own: by one class after another a GPU would
    start a hundred short programs.
    """
    boxes, scores, classes = ranked
    edges = (np.array(edge, np.float32) for edge in (-REACH, 1 + REACH))
    near = graph.add("Clip", [boxes, *(graph.constant("edge", edge) for edge in edges)])
    apart = _apart_by_class(graph, near, classes, kinds)
    middle = graph.constant("middle", integers(1))
    enough = graph.add("Greater", [count, graph.constant("wanted", integers(wanted))])
    below = np.nextafter(np.float32(CLEAR), np.float32(0), dtype=np.float32)
    bounds = [graph.constant("bound", np.array([one], np.float32)) for one in (below, _NEVER)]
    picked = graph.add(
        "NonMaxSuppression",
        [
            apart,
            graph.add("Unsqueeze", [scores, middle]),
            graph.constant("wanted", integers(wanted)),
            graph.constant("iou", np.array([NMS_IOU], np.float32)),
            graph.add("Where", [enough, *bounds]),
        ],
    )
    return graph.add("Gather", [picked, graph.constant("columns", integers(0, 2))], axis=1)


def _apart_by_class(graph: Graph, boxes: str, classes: str, kinds: int | None) -> str:
    """Return the boxes (N, P, 4), each shifted to the place of its class.

    The places lie in several columns, not in a line: the farther away, the fewer digits of a box are left in float32.
    Columns are higher than wide, since ONNX Runtime compares y first, where most pairs then differ.
    """
    if kinds == 1:
        return boxes
    side = ceil(sqrt(kinds or SOME_CLASSES) / 2)
    of_kind = np.array([APART, 0, APART, 0], np.float32)
    of_row = np.array([-side * APART, APART, -side * APART, APART], np.float32)
    last = graph.constant("last", integers(2))
    kind = graph.add("Unsqueeze", [graph.add("Cast", [classes], to=TensorProto.FLOAT), last])
    # The middle between two kinds, so that rounding leads to no other row.
    share, half = (graph.constant("row", np.array(one / side, np.float32)) for one in (1, 0.5))
    row = graph.add("Floor", [graph.add("Add", [graph.add("Mul", [kind, share]), half])])
    parts = (
        graph.add("Mul", [number, graph.constant("shift", shift)])
        for number, shift in ((kind, of_kind), (row, of_row))
    )
    return graph.add("Add", [boxes, graph.add("Add", [*parts])])
