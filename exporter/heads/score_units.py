"""Units of probabilities that a statement does not make right: whole percentages, and other logarithms."""

from collections.abc import Sequence
from math import log

import numpy as np
from onnx import NodeProto

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.score_kind import CARRIERS, graph_ends, sums_to_one
from exporter.network import Array

ENOUGH = 8
"""Fewer scores may all be whole numbers by chance."""

HUNDRED = 100.0
MOST_ROUNDED = 10.0
"""Rounded percentages of one whole sum to 100 with at most half of one for each class, and never more than this."""

MANY_CLASSES = 20
"""Of more classes, most shares may be rounded to 0."""

BASES = {2: log(2), 10: log(10)}
SAME_FACTOR = 0.005

_LOGARITHMS = {"Log", "LogSoftmax"}


def are_whole_percentages(scores: Sequence[Array]) -> bool:
    """Return whether scores are whole numbers of 0 to 100, some of them above 1."""
    if sum(one.size for one in scores) < ENOUGH:
        return False
    whole = all(bool(np.array_equal(one, np.round(one))) for one in scores)
    low, high = min(one.min() for one in scores), max(one.max() for one in scores)
    return whole and low >= 0 and 1 < high <= HUNDRED


def sum_to_hundred(scores: Sequence[Array]) -> bool:
    """Return whether whole percentages (N, K) are those of one whole, rounded, in every image."""
    return are_whole_percentages(scores) and all(
        _is_about_hundred(one.sum(axis=1), one.shape[1]) for one in scores
    )


def _is_about_hundred(sums: Array, classes: int) -> bool:
    apart = sums - HUNDRED
    most = min(classes / 2, MOST_ROUNDED)
    # Numbers that are cut off, in place of rounded, are each up to one too small.
    return bool(np.all((apart <= most) & (apart >= -min(classes, MOST_ROUNDED))))


def refuse_unknown_rounding(scores: Sequence[Array]) -> None:
    """Refuse rounded percentages of many classes that may be those of one whole, of which most are 0, or of labels.

    Args:
        scores: (N, K), of which nothing states whether an image may have several labels.

    Raises:
        RecipeError: they are such percentages.
    """
    if scores[0].shape[1] <= MANY_CLASSES or not are_whole_percentages(scores):
        return
    highest = max(float(one.sum(axis=1).max()) for one in scores)
    if highest <= HUNDRED + MOST_ROUNDED:
        raise RecipeError(
            f"The percentages are whole numbers, and those of an image sum to at most {highest:.0f}: whether an image "
            "has one class, or may have several labels, can not be seen. State --multi-label if it may have several; "
            "else export the network without its rounding"
        )


def refuse_other_base(graph: Graph, tensor: str, scores: Sequence[Array], axis: int | None) -> None:
    """Refuse logarithms of probabilities that are no natural ones.

    Args:
        graph: computes them.
        tensor: their name.
        scores: their values on real images.
        axis: that of the classes, None where a score has none.

    Raises:
        RecipeError: the graph multiplies a logarithm, or the values sum to one as powers of another base alone.
    """
    factors = [one for one in _log_factors(graph, tensor) if abs(one - 1) > SAME_FACTOR]
    if axis is not None and not sums_to_one([np.exp(one) for one in scores], axis):
        factors += [
            1 / natural
            for natural in BASES.values()
            if sums_to_one([np.exp(one * natural) for one in scores], axis)
        ]
    if not factors:
        return
    factor = factors[0]
    base = next(
        (
            f"to the base {base}"
            for base, one in BASES.items()
            if abs(factor * one - 1) < SAME_FACTOR
        ),
        f"times {factor:.4g}",
    )
    raise RecipeError(
        f"--activation exp is for natural logarithms, but the network's scores are logarithms {base}. Export the "
        f"network with its scores multiplied by {1 / factor:.4g} behind it, or without the logarithm; or name the "
        "tensor before it with --outputs (of an ONNX file)"
    )


def _log_factors(graph: Graph, tensor: str) -> list[float]:
    """Return what each logarithm that a tensor comes from is multiplied by, through carriers and constants."""
    producers = graph.producers()
    found: list[float] = []
    queue, seen = [(tensor, 1.0)], set[str]()
    while queue:
        name, factor = queue.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _LOGARITHMS:
            found.append(factor)
        elif node.op_type == "Concat":
            queue += [(one, factor) for one in node.input]
        elif node.op_type in CARRIERS or node.op_type in {"Clip", "Max", "Min"}:
            queue.append((node.input[0], factor))
        elif node.op_type in {"Mul", "Div"} and (by := _constant_factor(graph, node)) is not None:
            queue.append((by[0], factor * by[1]))
    return found


def _constant_factor(graph: Graph, node: NodeProto) -> tuple[str, float] | None:
    """Return what a product or quotient multiplies, and by which number, None where that is none."""
    values = [graph.value(name) for name in node.input]
    is_inverse = node.op_type == "Div"
    if (values[0] is None) == (values[1] is None) or (is_inverse and values[0] is not None):
        return None
    place = 0 if values[0] is not None else 1
    constant = values[place]
    if constant is None or constant.size != 1 or not float(constant.flat[0]):
        return None
    number = float(constant.flat[0])
    return node.input[1 - place], 1 / number if is_inverse else number


def refuse_cut_percentages(graph: Graph, tensor: str) -> None:
    """Refuse that the values of a linear layer that are cut off below 100, as by a ReLU6, are percentages.

    Raises:
        RecipeError: they are such values.
    """
    producers = graph.producers()
    while (node := producers.get(tensor)) is not None and node.op_type in CARRIERS:
        tensor = node.input[0]
    if node is None or node.op_type != "Clip" or len(node.input) < 3:
        return
    highest = graph.value(node.input[2])
    if highest is None or highest.size != 1 or graph_ends(graph, node.input[0]) != {"linear"}:
        return
    if float(highest.flat[0]) < HUNDRED - 1:
        raise RecipeError(
            f"--activation percent says that the scores are 0 to 100, but the network cuts off those of a linear layer "
            f"at {float(highest.flat[0]):.3g}, as a ReLU6 does. Name the tensor before it with --outputs (of an ONNX "
            "file), or export the network without it; --activation softmax if training took them as logits"
        )
