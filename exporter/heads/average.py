"""Weighted sums of probabilities, as of a blur or of groups of classes, told from a trained layer behind them."""

import numpy as np
from onnx import NodeProto

from exporter.graph import Graph, attribute
from exporter.network import Array


def largest_share(graph: Graph, node: NodeProto) -> float | None:
    """Return the largest sum of the weights with which a node adds up its input.

    Up to 1, sums of probabilities are probabilities. None where a weight is negative, or something is added besides, as
    in a trained layer: these are sums, but logits.
    """
    if node.op_type not in _SHARES or len(node.input) < 2:
        return None
    weights = graph.value(node.input[1])
    if weights is None or not weights.size or weights.min() < 0 or _has_bias(graph, node):
        return None
    return float(_SHARES[node.op_type](node, weights.astype(np.float64)))


def _has_bias(graph: Graph, node: NodeProto) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return False
    bias = graph.value(node.input[2])
    return bias is None or bool(np.any(bias))


def _conv(_: NodeProto, weights: Array) -> float:
    return float(weights.reshape(len(weights), -1).sum(axis=1).max())


def _conv_transpose(node: NodeProto, weights: Array) -> float:
    groups = int(str(attribute(node, "group", 1)))
    strides = np.asarray(attribute(node, "strides", [1]))
    # (in, out per group, …) → (group, in per group, out per group, positions)
    parts = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
    return float(parts.sum(axis=(1, 3)).max()) / float(strides.prod())


def _gemm(node: NodeProto, weights: Array) -> float:
    axis = 1 if attribute(node, "transB", 0) else 0
    return float(weights.sum(axis=axis).max()) * float(str(attribute(node, "alpha", 1.0)))


def _mat_mul(_: NodeProto, weights: Array) -> float:
    return float(weights.sum(axis=max(weights.ndim - 2, 0)).max())


def _einsum(_: NodeProto, __: Array) -> float:
    return np.inf  # which axes are summed is not looked at


_SHARES = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _mat_mul,
    "Einsum": _einsum,
}
