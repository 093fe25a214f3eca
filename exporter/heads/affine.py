"""A tensor as a constant factor times what one node computes, plus a constant offset."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from exporter.graph import Graph, attribute

Range = tuple[float, float]

ONE: Range = (1.0, 1.0)
NOTHING: Range = (0.0, 0.0)

_CARRIERS = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"),
    *("Slice", "Gather", "Split", "Expand", "Resize", "Upsample", "DequantizeLinear"),
    *("QuantizeLinear", "ReduceMean", "AveragePool", "GlobalAveragePool"),
    *("ReduceMax", "ReduceMin", "MaxPool", "GlobalMaxPool"),
}
"""Operators behind which values still rise where those of the first input rise."""

_SAME = 1e-5


@dataclass(frozen=True, slots=True)
class Affine:
    """factor · `inner` + offset; each is the range of a constant, which may have a value for each class."""

    inner: str
    factor: Range = ONE
    offset: Range = NOTHING

    @property
    def falls(self) -> bool:
        """Whether the tensor falls for every class alike where `inner` rises."""
        low, high = self.factor
        return high < 0 and high - low <= _SAME * -low

    def behind(self, step: "Affine") -> "Affine":
        """Return the same tensor by what its `inner` is made of."""
        low, high = times(self.factor, step.offset)
        offset = (self.offset[0] + low, self.offset[1] + high)
        return Affine(step.inner, times(self.factor, step.factor), offset)


def affine_of(graph: Graph, tensor: str) -> Affine:
    """Return a tensor before all constants that are added to it, and that it is multiplied with."""
    producers = graph.producers()
    found = Affine(tensor)
    seen: set[str] = set()
    while (node := producers.get(found.inner)) is not None and found.inner not in seen:
        seen.add(found.inner)
        step = _step(graph, node)
        if step is None:
            return found.behind(Affine(found.inner, _alpha(node)))
        found = found.behind(step)
    return found


def times(one: Range, other: Range) -> Range:
    """Return the range of the products of two ranges."""
    products = [a * b for a in one for b in other]
    return min(products), max(products)


def reads_image(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor depends on the image, and is no constant, however it is written."""
    producers = graph.producers()
    entries = {value.name for value in graph.inputs}
    queue, seen = [tensor], set[str]()
    while queue:
        name = queue.pop()
        if name in entries:
            return True
        node = producers.get(name)
        if node is not None and name not in seen:
            queue += node.input
        seen.add(name)
    return False


def _step(graph: Graph, node: NodeProto) -> Affine | None:
    """Return a node's output by the one input that it changes by constants alone, None where it does more."""
    if node.op_type in _CARRIERS:
        return Affine(node.input[0])
    if node.op_type == "Neg":
        return Affine(node.input[0], (-1.0, -1.0))
    if node.op_type not in {"Add", "Sub", "Mul", "Div"}:
        return None
    left, right = (_range(graph.value(name)) for name in node.input)
    if right is not None and left is None:
        return _with_constant(node.op_type, node.input[0], right)
    if left is not None and right is None:
        return _of_constant(node.op_type, left, node.input[1])
    return None


def _with_constant(operator: str, tensor: str, constant: Range) -> Affine | None:
    """Return a sum, difference, product or quotient of a tensor and a constant."""
    low, high = constant
    match operator:
        case "Add":
            return Affine(tensor, ONE, constant)
        case "Sub":
            return Affine(tensor, ONE, (-high, -low))
        case "Mul":
            return Affine(tensor, constant)
    return Affine(tensor, (1 / high, 1 / low)) if low * high > 0 else None


def _of_constant(operator: str, constant: Range, tensor: str) -> Affine | None:
    """Return a sum, difference or product of a constant and a tensor; the quotient is no such form."""
    if operator == "Sub":
        return Affine(tensor, (-1.0, -1.0), constant)
    return _with_constant(operator, tensor, constant) if operator != "Div" else None


def _alpha(node: NodeProto) -> Range:
    """Return the factor that a Gemm has of its own."""
    alpha = attribute(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0
    return (alpha, alpha) if isinstance(alpha, float) else ONE


def _range(value: NDArray[Any] | None) -> Range | None:
    if value is None or not value.size or not np.issubdtype(value.dtype, np.number):
        return None
    return float(value.min()), float(value.max())
