"""Which outputs of a classifier are the same scores in other words, as logits and their softmax are."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from exporter.heads.activation import activate
from exporter.network import Array
from exporter.recipe_tables import Activation

_SAME_SCORES = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Softmax", "Sigmoid"),
    *("LogSoftmax", "Log", "Exp", "Clip", "Mul", "Div", "Add", "Sub", "HardSigmoid"),
}  # fmt: skip
"""Operators that keep one value for each class, and the order of the classes; see `_keeps_order` for arithmetic."""

_ARITHMETIC = {"Mul", "Div", "Add", "Sub"}

_NEAR = 1e-4
_FEWEST_RANKS = 5
"""Fewer classes are in the same order too often by chance."""


def graph_origins(model: onnx.ModelProto, tensors: Sequence[str]) -> dict[str, str]:
    """Return for each tensor the one that its scores are computed from, through activations, factors and moves."""
    producers = {name: node for node in model.graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {name: _origin(producers, constants, name) for name in tensors}


def value_origins(values: Mapping[str, Array]) -> dict[str, str]:
    """Return for each array of scores (N, K) the name of the first one of the same scores, on one example.

    They are the same where one is the softmax or sigmoid of the other, or both have the same order everywhere.
    """
    origins: dict[str, str] = {}
    for name, one in values.items():
        known = (
            origins[other]
            for other in origins
            if values[other].shape == one.shape and _are_same(values[other], one)
        )
        origins[name] = next(known, name)
    return origins


def _origin(
    producers: Mapping[str, NodeProto], constants: Mapping[str, TensorProto], tensor: str
) -> str:
    seen: set[str] = set()
    while tensor not in seen and (node := producers.get(tensor)) is not None:
        seen.add(tensor)
        computed = [
            name for name in node.input if name in producers and not _is_constant(producers, name)
        ]
        if node.op_type not in _SAME_SCORES or len(computed) != 1:
            return tensor
        if node.op_type in _ARITHMETIC and not _keeps_order(
            node, computed[0], producers, constants
        ):
            return tensor
        tensor = computed[0]
    return tensor


def _keeps_order(
    node: NodeProto,
    computed: str,
    producers: Mapping[str, NodeProto],
    constants: Mapping[str, TensorProto],
) -> bool:
    """Return whether arithmetic with a constant keeps the order of the classes.

    A number for each class, as a prior's logarithm or a threshold is, may change it, and a sign turns it round.
    """
    if computed != node.input[0] and node.op_type in {"Div", "Sub"}:
        return False
    other = next((name for name in node.input if name != computed), "")
    held = constants.get(other)
    if held is None and (made := producers.get(other)) is not None:
        held = next((one.t for one in made.attribute if one.name == "value"), None)
    if held is None or np.prod(held.dims) != 1:
        return False
    factor = float(numpy_helper.to_array(held).reshape(-1)[0])
    return node.op_type in {"Add", "Sub"} or factor > 0


def _is_constant(producers: Mapping[str, NodeProto], tensor: str) -> bool:
    node = producers.get(tensor)
    return node is not None and node.op_type == "Constant"


def _are_same(one: Array, other: Array) -> bool:
    pair = [np.asarray(values, np.float64).reshape(len(values), -1) for values in (one, other)]
    if not all(np.isfinite(values).all() for values in pair):
        return True  # nothing is known of them
    if pair[0].shape[1] >= _FEWEST_RANKS:
        first, second = (np.argsort(values, axis=1, kind="stable") for values in pair)
        if np.array_equal(first, second):
            return True
    # A softmax over one class is 1, whatever the score is.
    several: tuple[Activation, ...] = ("softmax",) if pair[0].shape[1] > 1 else ()
    activations: tuple[Activation, ...] = ("sigmoid", "none", *several)
    with np.errstate(over="ignore"):  # a sigmoid far below 0 is 0
        return any(
            np.allclose(activate(logits, activation, axis=1), scores, atol=_NEAR)
            for logits, scores in (pair, pair[::-1])
            for activation in activations
        )
