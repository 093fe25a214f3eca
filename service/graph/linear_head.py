"""A head that is average pooling and one linear layer: what exact class activation maps need (Zhou et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from service.graph.wiring import PASSING, Array, Wiring, attribute, reduced_axes

_RESHAPING = PASSING | {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
"""Operators that may stand between pooling, linear layer and logits: they keep the values and their order."""

_Linear = tuple[str, Array, Array]
"""The name of a linear layer's input, its weights (K, C), its bias (K,) or of one value."""


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A head with `logits = weights @ mean(map over its height and width) + bias`.

    `weights` is float32 (K, C), `bias` float32 (K,). `map` is the name of the feature map, (N, C, H, W), or
    (N, H, W, C) where `channels_last`.
    """

    map: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    channels_last: bool


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A last layer with `logits = weights @ vector + bias`.

    `input` is the name of the vector, (N, C) or (N, C, 1, 1). `weights` is float32 (K, C), `bias` float32 (K,).
    """

    input: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def find_last_layer(wiring: Wiring, logits: str = "logits") -> LastLayer | None:
    """Return the linear layer that makes the tensor `logits` of a vector, None where the last layer is another one."""
    linear = _linear(wiring, _before(wiring, logits))
    if linear is None or linear[2].size not in {1, len(linear[1])}:
        return None
    tensor, weights, bias = linear
    return LastLayer(tensor, weights.astype(np.float32), _whole(bias, len(weights)))


def find_linear_head(wiring: Wiring, logits: str = "logits") -> LinearHead | None:
    """Return the head that computes the tensor `logits`, None where it is not pooling and one linear layer alone."""
    linear = _linear(wiring, _before(wiring, logits))
    if linear is None:
        return None
    tensor, weights, bias = linear
    pooling = wiring.producer(_before(wiring, tensor))
    if pooling is None:
        return None
    axes = _pooled_axes(wiring, pooling)
    if axes not in ({2, 3}, {1, 2}):
        return None
    if bias.size not in {1, len(weights)}:
        return None
    whole = _whole(bias, len(weights))
    return LinearHead(pooling.input[0], weights.astype(np.float32), whole, axes == {1, 2})


def _whole(bias: Array, classes: int) -> NDArray[np.float32]:
    """Return a bias for each class, float32 (K,)."""
    return np.broadcast_to(bias.astype(np.float32).ravel(), (classes,)).copy()


def _before(wiring: Wiring, tensor: str) -> str:
    """Return the tensor that this one is a reshaped copy of."""
    while (node := wiring.producer(tensor)) is not None and node.op_type in _RESHAPING:
        tensor = node.input[0]
    return tensor


def _linear(wiring: Wiring, tensor: str) -> _Linear | None:
    node = wiring.producer(tensor)
    if node is None:
        return None
    if node.op_type == "Add":
        return _with_bias(wiring, node)
    if node.op_type not in _LINEAR:
        return None
    weights = wiring.constant(node.input[1])
    bias = wiring.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
    if weights is None or bias is None:
        return None
    return _LINEAR[node.op_type](node, weights, bias)


def _gemm(node: NodeProto, weights: Array, bias: Array) -> _Linear | None:
    if attribute(node, "transA", 0):
        return None
    rows = weights if attribute(node, "transB", 0) else weights.T
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    return node.input[0], rows * alpha, bias * beta


def _matmul(node: NodeProto, weights: Array, bias: Array) -> _Linear | None:
    return (node.input[0], weights.T, bias) if weights.ndim == 2 else None


def _pointwise(node: NodeProto, weights: Array, bias: Array) -> _Linear | None:
    if weights.shape[2:] != (1, 1) or attribute(node, "group", 1) != 1:
        return None
    return node.input[0], weights[:, :, 0, 0], bias


_LINEAR: dict[str, Callable[[NodeProto, Array, Array], _Linear | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _pointwise,
}


def _with_bias(wiring: Wiring, node: NodeProto) -> _Linear | None:
    for product, added in (tuple(node.input), tuple(node.input)[::-1]):
        bias = wiring.constant(added)
        inner = wiring.producer(_before(wiring, product))
        if bias is not None and inner is not None and inner.op_type in _LINEAR:
            linear = _linear(wiring, inner.output[0])
            return (linear[0], linear[1], linear[2] + bias.ravel()) if linear else None
    return None


def _pooled_axes(wiring: Wiring, node: NodeProto) -> set[int]:
    if node.op_type == "GlobalAveragePool":
        return {2, 3}
    if node.op_type != "ReduceMean":
        return set()
    return {axis % 4 for axis in reduced_axes(wiring, node) or ()}
