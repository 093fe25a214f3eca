"""Operators that make something large of two small constants: (N, 1) and (1, M) broadcast, or multiplied, are (N, M).

A runtime computes them when it loads the file, or in the first run where they are too large for that.
"""

import itertools
from collections.abc import Mapping

from service.graph.outline import Node, Tensor, elements

BOOLEAN = 9
"""ONNX's number of the type."""
_COMPARISONS = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"}
)
_ARITHMETIC = frozenset(
    {"Add", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Max", "Mean"}
    | {"Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where"}
)
PRODUCTS = _COMPARISONS | _ARITHMETIC | {"MatMul"}


def product_of(node: Node, literals: Mapping[str, Tensor]) -> Tensor | None:
    """Return what such a node makes of constants; None where it reads anything else, or shapes that do not fit.

    Of inputs whose shapes are not known whole, the largest has as many elements as the result at most.
    """
    inputs = [literals.get(name) for name in node.inputs]
    known = [one for one in inputs if one is not None]
    if len(known) < max(2, len(inputs)):
        return None
    kind = BOOLEAN if node.operator in _COMPARISONS else known[-1].type
    if not all(one.exact for one in known):
        if node.operator == "MatMul":
            return None
        most = max(elements(one.shape) for one in known)
        return Tensor(node.output, (most,), kind, 0, (), None, exact=False)
    shapes = [one.shape for one in known]
    shape = _multiplied(*shapes[:2]) if node.operator == "MatMul" else broadcast(*shapes)
    if shape is None:
        return None
    return Tensor(node.output, shape, kind, 0, (), None)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that tensors of these shapes have together; None where they do not fit."""
    sides = []
    for at in itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        longer = {side for side in at if side != 1}
        if len(longer) > 1:
            return None
        sides.append(longer.pop() if longer else 1)
    return tuple(reversed(sides))


def _multiplied(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of a product of matrices; a vector is a row on the left and a column on the right."""
    if not left or not right:
        return None
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    stacked = broadcast(left[:-2], right[:-2])
    return None if stacked is None else (*stacked, *rows, *columns)
