"""Whether scores are made of cosines: products with vectors that the graph divides by their own length."""

from collections.abc import Iterator, Set
from typing import TypeGuard

from onnx import NodeProto

from exporter.graph import Graph
from exporter.heads.affine import Affine, affine_of

_PRODUCTS = {"MatMul", "Gemm", "Conv", "Einsum"}
_MOVES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"}
_LENGTHS = {"ReduceL2", "ReduceSumSquare"}
_AROUND_LENGTHS = {
    *("Max", "Clip", "Expand", "Sqrt", "Reciprocal", "Add", "Pow", "Identity", "Cast", "Reshape"),
    *("Unsqueeze", "Squeeze", "Abs"),
}
"""Operators between a vector's length and the division by it: a bound from below, a root, a change of shape."""

_SQUARES = {"Pow", "Mul"}


def cosine_form(graph: Graph, tensor: str) -> Affine | None:
    """Return what a tensor is of a product of which a factor has the length one, None where it is of no such product.

    The values must be held against it besides: the product's other factor may have another length.
    """
    form = affine_of(graph, tensor)
    if _is_quotient(graph, form.inner):
        return form
    names = [name for name in factors_of(graph, form.inner) if name not in graph.constants]
    factors = [affine_of(graph, name) for name in names]
    if not any(has_length_one(graph.producers(), one.inner) for one in factors):
        return None
    for one in factors:
        form = form.behind(Affine(form.inner, one.factor))
    return form


def are_plain(form: Affine, low: float, high: float, tolerance: float) -> bool:
    """Return whether values from `low` to `high` are cosines without a factor that is larger than one."""
    factor = form.factor[1]
    if form.factor[0] <= 0 or factor > 1 + tolerance:
        return False
    reach = factor + tolerance
    return form.offset[0] - reach <= low and high <= form.offset[1] + reach


def factors_of(graph: Graph, tensor: str) -> list[str]:
    """Return the factors of a product of vectors, also of one that is written as a sum of products; else none."""
    producers = graph.producers()
    node = producers.get(tensor)
    if node is not None and node.op_type == "ReduceSum":
        node = _behind_moves(producers, node.input[0])
        return list(node.input) if _multiplies(node) else []
    if node is None or node.op_type not in _PRODUCTS:
        return []
    # A bias is no factor.
    return list(node.input) if node.op_type == "Einsum" else list(node.input[:2])


def _multiplies(node: NodeProto | None) -> TypeGuard[NodeProto]:
    return node is not None and node.op_type == "Mul" and node.input[0] != node.input[1]


def _is_quotient(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is a product of vectors that is divided by the product of their lengths."""
    producers = graph.producers()
    node = producers.get(tensor)
    if node is None or node.op_type != "Div" or not factors_of(graph, node.input[0]):
        return False
    lengths = list(_lengths(producers, node.input[1], around=_AROUND_LENGTHS | {"Mul"}))
    return any(one.op_type in _LENGTHS or _sums_squares(producers, one) for one in lengths)


def has_length_one(producers: dict[str, NodeProto], tensor: str) -> bool:
    """Return whether a tensor is one that the graph divides by its own length."""
    node = _behind_moves(producers, tensor)
    if node is None:
        return False
    if node.op_type == "LpNormalization":
        return True
    if node.op_type not in {"Div", "Mul"}:
        return False
    divisors = node.input[1:] if node.op_type == "Div" else node.input
    lengths = [one for name in divisors for one in _lengths(producers, name)]
    return any(one.op_type in _LENGTHS or _sums_squares(producers, one) for one in lengths)


def _lengths(
    producers: dict[str, NodeProto], tensor: str, around: Set[str] = _AROUND_LENGTHS
) -> Iterator[NodeProto]:
    """Yield the reductions that a divisor comes from."""
    queue, seen = [tensor], set[str]()
    while queue:
        name = queue.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _LENGTHS or node.op_type == "ReduceSum":
            yield node
        elif node.op_type in around:
            queue += node.input


def _sums_squares(producers: dict[str, NodeProto], node: NodeProto) -> bool:
    inner = producers.get(node.input[0])
    return node.op_type == "ReduceSum" and inner is not None and inner.op_type in _SQUARES


def _behind_moves(producers: dict[str, NodeProto], tensor: str) -> NodeProto | None:
    """Return the node that computes a tensor's values, before operators that only move them."""
    seen: set[str] = set()
    while (node := producers.get(tensor)) is not None and tensor not in seen:
        if node.op_type not in _MOVES:
            return node
        seen.add(tensor)
        tensor = node.input[0]
    return None
