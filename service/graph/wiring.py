"""An ONNX graph, indexed by tensor: which node produces a tensor, and which tensors are constants."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]

PASSING = frozenset({"Identity", "Cast", "Dropout"})
"""Operators that keep every value, up to rounding: reduced precision adds casts."""


class Wiring:
    """An index of a graph's nodes and constants by the name of a tensor; it never runs the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
        self._inputs = [value.name for value in graph.input if value.name not in self._initializers]

    @property
    def input_name(self) -> str:
        """The name of the graph's first input, which receives the client's data."""
        name: str = self._inputs[0]
        return name

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the node that has this tensor as output, None for inputs of the graph and for initializers."""
        return self._producers.get(tensor)

    def readers(self, tensor: str) -> list[NodeProto]:
        """Return the nodes that have this tensor among their inputs, without those that read its shape alone."""
        return [node for node in self._readers.get(tensor, []) if node.op_type != "Shape"]

    def constant(self, tensor: str) -> Array | None:
        """Return the value of a tensor that depends on no input, None for any other.

        An initializer, a `Constant`, or one of these after casts or `DequantizeLinear` (float32).
        """
        if tensor in self._initializers:
            return numpy_helper.to_array(self._initializers[tensor])
        node = self._producers.get(tensor)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant_value(node)
        if node.op_type in PASSING:
            return self.constant(node.input[0])
        if node.op_type == "DequantizeLinear":
            return self._dequantized(node)
        return None

    def dependent_nodes(self) -> Iterator[tuple[NodeProto, list[str]]]:
        """Yield, in the graph's order, each node that depends on the input, and those of its inputs that do."""
        reached = {self.input_name}
        for node in self.nodes:
            inputs = [name for name in node.input if name in reached]
            if inputs:
                reached.update(name for name in node.output if name)
                yield node, inputs

    def _dequantized(self, node: NodeProto) -> Array | None:
        parts = [self.constant(name) for name in node.input if name]
        if any(part is None for part in parts):
            return None
        values, scale, *zero = (np.asarray(part) for part in parts)
        axis = int(attribute(node, "axis", 1))
        shape = (
            [-1 if place == axis else 1 for place in range(values.ndim)] if scale.size > 1 else []
        )
        offset = zero[0].astype(np.float32).reshape(shape) if zero else np.float32(0)
        factor = scale.astype(np.float32).reshape(shape)
        dequantized: Array = (values.astype(np.float32) - offset) * factor
        return dequantized


def attribute(node: NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401  # ONNX attributes are untyped
    """Return the value of a node's attribute, `default` where the node does not have it."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def reduced_axes(wiring: Wiring, node: NodeProto) -> set[int] | None:
    """Return the axes that a `Reduce…` node names, as they stand there; None where it names none.

    They are an attribute before opset 18 of ONNX (13 for `ReduceSum`), a constant input since.
    """
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1:
        axes = wiring.constant(node.input[1])
    return {int(axis) for axis in axes} if axes is not None else None


def _constant_value(node: NodeProto) -> Array | None:
    for found in node.attribute:
        if found.name == "value":
            return numpy_helper.to_array(found.t)
        if found.name in {"value_int", "value_ints", "value_float", "value_floats"}:
            return np.asarray(helper.get_attribute_value(found))
    return None
