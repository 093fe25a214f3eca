"""Heads that exact class activation maps may be made for, and those that they may not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.graph.linear_head import LinearHead, find_linear_head
from service.graph.wiring import Wiring
from tests.service.graph.graphs import Node, graph_of, run

CHANNELS, CLASSES = 5, 3
NOISE = np.random.default_rng(7)
WEIGHTS = NOISE.normal(size=(CLASSES, CHANNELS)).astype(np.float32)
BIAS = NOISE.normal(size=CLASSES).astype(np.float32)
AXES = np.array([2, 3])

POOLING: dict[str, list[Node]] = {
    "global": [("GlobalAveragePool", ["map"], "p", {}), ("Flatten", ["p"], "pooled", {})],
    "reshaped": [("GlobalAveragePool", ["map"], "p", {}), ("Reshape", ["p", "flat"], "pooled", {})],
    "squeezed": [("GlobalAveragePool", ["map"], "p", {}), ("Squeeze", ["p", "axes"], "pooled", {})],
    "unsqueezed": [
        ("ReduceMean", ["map", "axes"], "p", {"keepdims": 0}),
        ("Unsqueeze", ["p", "axes"], "q", {}),
        ("Flatten", ["q"], "pooled", {}),
    ],
    "reduced": [("ReduceMean", ["map", "axes"], "pooled", {"keepdims": 0})],
    "counted from the end": [("ReduceMean", ["map", "last"], "pooled", {"keepdims": 0})],
    "halved": [
        ("Cast", ["map"], "h", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["h", "axes"], "pooled", {"keepdims": 0}),
    ],
}
LINEAR: dict[str, list[Node]] = {
    "gemm": [("Gemm", ["pooled", "w", "b"], "logits", {"transB": 1})],
    "transposed gemm": [("Gemm", ["pooled", "wt", "b"], "logits", {})],
    "scaled gemm": [
        ("Gemm", ["pooled", "w", "b"], "logits", {"transB": 1, "alpha": 0.5, "beta": 3.0})
    ],
    "gemm without bias": [("Gemm", ["pooled", "w"], "logits", {"transB": 1})],
    "gemm with one bias": [("Gemm", ["pooled", "w", "one"], "logits", {"transB": 1})],
    "gemm and another bias": [
        ("Gemm", ["pooled", "w", "b"], "m", {"transB": 1}),
        ("Add", ["m", "one"], "logits", {}),
    ],
    "matmul": [("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["m", "b"], "logits", {})],
    "matmul without bias": [("MatMul", ["pooled", "wt"], "logits", {})],
    "bias first": [("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["b", "m"], "logits", {})],
    "bias as a row": [("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["m", "row"], "logits", {})],
}


CONSTANTS = {
    "w": WEIGHTS,
    "wt": WEIGHTS.T.copy(),
    "w4": WEIGHTS[:, :, None, None].copy(),
    "wide": np.ones((CLASSES, CHANNELS, 1, 2), np.float32),
    "grouped": np.ones((CHANNELS, 1, 1, 1), np.float32),
    "b": BIAS,
    "row": BIAS[None].copy(),
    "two": np.ones((2, CHANNELS, CLASSES), np.float32),
    "one": np.array([0.25], np.float32),
    "tall": np.ones((2 * CLASSES, CLASSES), np.float32),
    "axes": AXES,
    "flat": np.array([0, CHANNELS]),
    "last": np.array([-1, -2]),
    "channels_last": np.array([1, 2]),
    "all": np.array([1, 2, 3]),
}


def network(nodes: list[Node], shape: tuple[int, ...] = (CHANNELS, 4, 6)) -> onnx.ModelProto:
    return graph_of(nodes, "logits", CONSTANTS, image=["N", *shape], name="map")


def head_of(nodes: list[Node]) -> LinearHead | None:
    return find_linear_head(Wiring(network(nodes).graph))


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("linear", LINEAR)
def test_a_pooled_linear_head_is_found_and_gives_the_logits(pooling: str, linear: str) -> None:
    check_head(network(POOLING[pooling] + LINEAR[linear]), (2, 3))


@pytest.mark.parametrize("options", [{}, {"group": 1}])
def test_a_pointwise_convolution_is_a_linear_layer(options: dict[str, int]) -> None:
    convolution: list[Node] = [
        ("GlobalAveragePool", ["map"], "p", {}),
        ("Conv", ["p", "w4", "b"], "c", options),
        ("Flatten", ["c"], "logits", {}),
    ]
    check_head(network(convolution), (2, 3))


def test_a_map_with_its_channels_last_is_found_too() -> None:
    pooling: list[Node] = [("ReduceMean", ["map", "channels_last"], "pooled", {"keepdims": 0})]
    check_head(network(pooling + LINEAR["gemm"], (4, 6, CHANNELS)), (1, 2))


def check_head(model: onnx.ModelProto, axes: tuple[int, int]) -> None:
    """Compute the logits by the head that is found, and by running the graph."""
    head = find_linear_head(Wiring(model.graph))
    assert head is not None
    assert head.map in {"map", "h"}
    assert head.channels_last == (axes == (1, 2))
    assert head.weights.shape == (CLASSES, CHANNELS)
    assert head.bias.shape == (CLASSES,)
    assert head.weights.dtype == head.bias.dtype == np.float32
    shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    maps = NOISE.normal(size=(1, *shape[1:])).astype(np.float32)
    logits = head.weights @ maps.mean(axis=axes)[0] + head.bias
    np.testing.assert_allclose(logits, run(model, maps)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "nodes",
    [
        [("GlobalMaxPool", ["map"], "p", {}), ("Flatten", ["p"], "pooled", {}), *LINEAR["gemm"]],
        [*POOLING["global"], ("Gemm", ["pooled", "w", "b"], "x", {"transB": 1}), ("Relu", ["x"], "logits", {})],
        [("ReduceMean", ["map", "axes"], "raw", {"keepdims": 0}), ("Relu", ["raw"], "pooled", {}), *LINEAR["gemm"]],
        [("ReduceMean", ["map", "all"], "pooled", {"keepdims": 0}), *LINEAR["gemm"]],
        [("ReduceMean", ["map"], "pooled", {"keepdims": 0}), *LINEAR["gemm"]],
        [("Identity", ["map"], "pooled", {}), *LINEAR["gemm"]],
        [*POOLING["global"], ("Identity", ["pooled"], "logits", {})],
        [*POOLING["global"], ("Gemm", ["pooled", "w", "b"], "logits", {"transA": 1, "transB": 1})],
        [*POOLING["global"], ("Gemm", ["pooled", "computed", "b"], "logits", {})],
        [*POOLING["global"], ("Gemm", ["pooled", "w", "computed"], "logits", {"transB": 1})],
        [*POOLING["global"], ("Gemm", ["pooled", "w", "tall"], "logits", {"transB": 1})],
        [*POOLING["global"], ("MatMul", ["pooled", "two"], "logits", {})],
        [("GlobalAveragePool", ["map"], "p", {}), ("Conv", ["p", "wide"], "logits", {})],
        [("GlobalAveragePool", ["map"], "p", {}), ("Conv", ["p", "grouped"], "logits", {"group": CHANNELS})],
        [*POOLING["global"], ("Add", ["pooled", "b"], "logits", {})],
        [*POOLING["global"], ("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["m", "pooled"], "logits", {})],
        [*POOLING["global"], ("MatMul", ["pooled", "two"], "m", {}), ("Add", ["m", "b"], "logits", {})],
        [("Relu", ["map"], "elsewhere", {})],
    ],
    ids=[
        "max pooling", "activation after", "activation before", "channels pooled too", "all pooled", "not pooled",
        "not linear", "transposed input", "computed weights", "computed bias", "bias of another size", "two matrices",
        "convolution of two columns", "grouped convolution", "a bias alone", "a computed sum", "bias and two matrices",
        "no logits",
    ],
)  # fmt: skip
def test_other_heads_are_not_taken(nodes: list[Node]) -> None:
    assert head_of(nodes) is None


def test_the_logits_may_have_another_name() -> None:
    model = network([*POOLING["global"], ("MatMul", ["pooled", "wt"], "scores", {})])
    assert find_linear_head(Wiring(model.graph), "scores") is not None
    assert find_linear_head(Wiring(model.graph)) is None
