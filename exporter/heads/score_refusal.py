"""What looks like one score for each class and is none: sorted or negative values, and a softmax over another axis."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.score_kind import graph_ends, in_unit_range, sums_to_one
from exporter.heads.softmax_part import is_softmax_over
from exporter.network import Array

_MOVES = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Slice", "Gather", "Softmax"),
    *("Sigmoid", "LogSoftmax", "Log", "Exp", "Clip", "Neg", "Relu", "Mul", "Div", "Add", "Sub"),
}  # fmt: skip
"""Operators after which a value for a rank is still one; the first input that is computed is followed."""


_CERTAIN = 0.999
"""Values of which one is 0 and the others large also sum to one so, as those of a ReLU do: they show nothing."""


def refuse_no_class_scores(graph: Graph, tensor: str, scores: Sequence[Array]) -> None:
    """Refuse scores (N, K), or maps (N, K, h, w), that are none of classes.

    Args:
        graph: computes them.
        tensor: their name.
        scores: their values on real images.

    Raises:
        RecipeError: the values are sorted, or they fall as a class becomes more probable.
    """
    top = _top_k(graph, tensor)
    if top is not None and scores[0].shape[1] > 1:
        before = top.input[0]
        raise RecipeError(
            f"The network's scores come from a {top.op_type}: they are values for each rank, the best first, not for "
            f"each class, and their place does not name the class. Take the scores before it: --outputs {before} of an "
            "ONNX file, or a network that returns them"
        )
    values = [one.astype(np.float64) for one in scores]
    if not all(np.isfinite(one).all() for one in values):
        return
    negated = [-one for one in values]
    if in_unit_range(negated) and sums_to_one(negated, axis=1):
        raise _negative("negative probabilities: they lie in -1 to 0 and sum to -1")
    if any((one < 0).any() for one in values):
        return
    shares = [np.exp(one) for one in negated]
    are_shares = sums_to_one(shares, 1)
    is_logarithm = bool(graph_ends(graph, tensor) & {"log_softmax", "log"})
    if are_shares and (is_logarithm or any((one.max(axis=1) < _CERTAIN).any() for one in shares)):
        raise _negative(
            "negative logarithms of probabilities (a negative log-softmax): the exponential of their negative sums to 1"
        )


def refuse_softmax_over_places(graph: Graph, tensor: str, maps: Sequence[Array]) -> None:
    """Refuse maps (N, K, h, w) of a softmax over the rows, the columns or all pixels, in place of the classes.

    Args:
        graph: computes them.
        tensor: their name.
        maps: their values on real images.

    Raises:
        RecipeError: they are such maps.
    """
    if not in_unit_range(maps) or sums_to_one(maps, axis=1):
        return
    _, _, height, width = maps[0].shape
    for axis, side, words in ((2, height, "rows"), (3, width, "columns")):
        if side > 1 and (sums_to_one(maps, axis) or is_softmax_over(graph, tensor, axis)):
            raise _over_places(f"the {words} of a map (axis {axis})", "classes")
    if height * width > 1 and sums_to_one([one.reshape(*one.shape[:2], -1) for one in maps], 2):
        raise _over_places("all pixels of a map", "classes")


def refuse_softmax_over_boxes(scores: Sequence[Array]) -> None:
    """Refuse scores (N, A, K) that sum to one over the boxes in place of the classes.

    Raises:
        RecipeError: they do.
    """
    if in_unit_range(scores) and sums_to_one(scores, axis=1):
        raise _over_places("the boxes (axis 1)", "classes of each box")


def _over_places(found: str, instead: str) -> RecipeError:
    return RecipeError(
        f"The network's scores are a softmax over {found}: there, not over the classes, they sum to one. Export the "
        f"network with its softmax over the {instead}, or without it; or name the tensor before it with --outputs (of "
        "an ONNX file)"
    )


def _negative(what: str) -> RecipeError:
    return RecipeError(
        f"The network's scores are {what}, so the best class has the smallest value. Export the network without the "
        "change of sign, or name the tensor before it with --outputs"
    )


def _top_k(graph: Graph, tensor: str) -> NodeProto | None:
    """Return the TopK that a tensor's values come from, through operators that move or scale them."""
    producers = graph.producers()
    seen: set[str] = set()
    while tensor not in seen and (node := producers.get(tensor)) is not None:
        if node.op_type == "TopK":
            return node
        seen.add(tensor)
        computed = [name for name in node.input if name and name not in graph.constants]
        if node.op_type not in _MOVES or len(computed) != 1:
            return None
        tensor = computed[0]
    return None
