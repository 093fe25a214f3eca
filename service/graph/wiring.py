"""How a graph's tensors hang together: who makes each one, and which of them are constants."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]

PASSING = frozenset({"Identity", "Cast", "Dropout"})
"""Operators that change no value worth speaking of; casts are what reduced precision adds."""


class Wiring:
    """A graph, to be asked about its tensors by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._inputs = [value.name for value in graph.input if value.name not in self._initializers]

    @property
    def entry(self) -> str:
        """The tensor that the client's data arrive in."""
        name: str = self._inputs[0]
        return name

    def maker(self, tensor: str) -> NodeProto | None:
        """Return the node that makes a tensor, None for inputs and constants."""
        return self._makers.get(tensor)

    def constant(self, tensor: str) -> Array | None:
        """Return a tensor's value where it follows from no input: a weight, perhaps cast or dequantized."""
        if tensor in self._initializers:
            return numpy_helper.to_array(self._initializers[tensor])
        node = self._makers.get(tensor)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant_value(node)
        if node.op_type in PASSING:
            return self.constant(node.input[0])
        if node.op_type == "DequantizeLinear":
            return self._dequantized(node)
        return None

    def derived(self) -> Iterator[tuple[NodeProto, list[str]]]:
        """Yield, in order, each node that depends on the input, with those of its inputs that do."""
        reached = {self.entry}
        for node in self.nodes:
            given = [name for name in node.input if name in reached]
            if given:
                reached.update(name for name in node.output if name)
                yield node, given

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
        plain: Array = (values.astype(np.float32) - offset) * scale.astype(np.float32).reshape(
            shape
        )
        return plain


def attribute(node: NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401  # ONNX attributes are untyped
    """Return a node's attribute, else the default."""
    for given in node.attribute:
        if given.name == name:
            return helper.get_attribute_value(given)
    return default


def _constant_value(node: NodeProto) -> Array | None:
    for given in node.attribute:
        if given.name == "value":
            return numpy_helper.to_array(given.t)
        if given.name in {"value_int", "value_ints", "value_float", "value_floats"}:
            return np.asarray(helper.get_attribute_value(given))
    return None
