"""Activation functions: which nodes of a graph are one, and what it makes of a number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log1p, tanh

from onnx import NodeProto

from service.graph.wiring import Wiring, attribute

Parameters = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Activation:
    """A function of single numbers: its name in `FUNCTIONS`, its parameters, and the tensor that it makes."""

    name: str
    parameters: Parameters
    tensor: str

    def apply(self, value: float) -> float:
        """Return what the function makes of a number."""
        return FUNCTIONS[self.name](value, self.parameters)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value)) if value >= 0 else exp(value) / (1 + exp(value))


def _hard_sigmoid(value: float, given: Parameters) -> float:
    return min(1.0, max(0.0, given["alpha"] * value + given["beta"]))


FUNCTIONS: Mapping[str, Callable[[float, Parameters], float]] = {
    "relu": lambda value, _: max(0.0, value),
    "clip": lambda value, given: min(given["high"], max(given["low"], value)),
    "leaky_relu": lambda value, given: value if value >= 0 else given["alpha"] * value,
    "elu": lambda value, given: value if value >= 0 else given["alpha"] * (exp(value) - 1),
    "tanh": lambda value, _: tanh(value),
    "sigmoid": lambda value, _: _sigmoid(value),
    "softplus": lambda value, _: max(0.0, value) + log1p(exp(-abs(value))),
    "hard_sigmoid": _hard_sigmoid,
    "silu": lambda value, _: value * _sigmoid(value),
    "hard_swish": lambda value, _: value * min(1.0, max(0.0, value / 6 + 0.5)),
}
"""The functions by the names that the API uses; ONNX's operators define them."""

_PLAIN: Mapping[str, tuple[str, dict[str, float]]] = {
    "Relu": ("relu", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softplus": ("softplus", {}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": ("hard_swish", {}),
}
"""Operators that are a function alone: its name, and the defaults of the attributes that are its parameters."""


def find_activation(wiring: Wiring, tensor: str) -> Activation | None:
    """Return the activation function that is all that reads a tensor, None where another thing does."""
    readers = wiring.readers(tensor)
    if len(readers) == 2:
        return _gated(wiring, tensor, readers)
    if len(readers) != 1:
        return None
    (node,) = readers
    if node.op_type == "Clip":
        return _clip(wiring, node)
    if node.op_type not in _PLAIN:
        return None
    name, defaults = _PLAIN[node.op_type]
    given = {key: float(attribute(node, key, value)) for key, value in defaults.items()}
    return Activation(name, given, node.output[0])


def _clip(wiring: Wiring, node: NodeProto) -> Activation | None:
    ends = {}
    for place, key, old in ((1, "low", "min"), (2, "high", "max")):
        end: float | None = attribute(node, old, None)  # before opset 11 of ONNX
        if end is None and len(node.input) > place and node.input[place]:
            constant = wiring.constant(node.input[place])
            end = float(constant.item()) if constant is not None and constant.size == 1 else None
        if end is None:
            return None
        ends[key] = float(end)
    return Activation("clip", ends, node.output[0])


def _gated(wiring: Wiring, tensor: str, readers: list[NodeProto]) -> Activation | None:
    """Return x · sigmoid(x), which exporters write as two nodes."""
    gates = [node for node in readers if node.op_type == "Sigmoid"]
    products = [node for node in readers if node.op_type == "Mul"]
    if not gates or not products:
        return None
    gate, product = gates[0].output[0], products[0]
    if set(product.input) != {tensor, gate} or len(wiring.readers(gate)) != 1:
        return None
    return Activation("silu", {}, product.output[0])
