"""Heads that exact class activation maps may be made for, and those that they may not."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.graph.linear_head import find_linear_head
from service.graph.wiring import Wiring

CHANNELS, CLASSES = 5, 3
NOISE = np.random.default_rng(7)
WEIGHTS = NOISE.normal(size=(CLASSES, CHANNELS)).astype(np.float32)
BIAS = NOISE.normal(size=CLASSES).astype(np.float32)
AXES = np.array([2, 3])

Node = tuple[str, list[str], str, dict[str, Any]]

POOLING: dict[str, list[Node]] = {
    "global": [("GlobalAveragePool", ["map"], "p", {}), ("Flatten", ["p"], "pooled", {})],
    "reduced": [("ReduceMean", ["map", "axes"], "pooled", {"keepdims": 0})],
    "halved": [
        ("Cast", ["map"], "h", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["h", "axes"], "pooled", {"keepdims": 0}),
    ],
}
LINEAR: dict[str, list[Node]] = {
    "gemm": [("Gemm", ["pooled", "w", "b"], "logits", {"transB": 1})],
    "turned": [("Gemm", ["pooled", "wt", "b"], "logits", {})],
    "matmul": [("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["m", "b"], "logits", {})],
    "added first": [("MatMul", ["pooled", "wt"], "m", {}), ("Add", ["b", "m"], "logits", {})],
}


def network(nodes: list[Node]) -> onnx.ModelProto:
    constants = {"w": WEIGHTS, "wt": WEIGHTS.T.copy(), "b": BIAS, "axes": AXES}
    graph = helper.make_graph(
        [helper.make_node(kind, given, [made], **options) for kind, given, made, options in nodes],
        "head",
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", CHANNELS, 4, 6])],
        [onnx.ValueInfoProto(name="logits")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def logits_of(model: onnx.ModelProto, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run(["logits"], {"map": maps[None]})[0][0]
    return answer


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("linear", LINEAR)
def test_a_pooled_linear_head_is_found_and_says_the_logits(pooling: str, linear: str) -> None:
    model = network(POOLING[pooling] + LINEAR[linear])
    head = find_linear_head(Wiring(model.graph))
    assert head is not None
    maps = NOISE.normal(size=(CHANNELS, 4, 6)).astype(np.float32)
    told = head.weights @ maps.mean(axis=(1, 2)) + head.bias
    np.testing.assert_allclose(told, logits_of(model, maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "nodes",
    [
        [("GlobalMaxPool", ["map"], "p", {}), ("Flatten", ["p"], "pooled", {}), *LINEAR["gemm"]],
        [*POOLING["global"], ("Gemm", ["pooled", "w", "b"], "x", {"transB": 1}), ("Relu", ["x"], "logits", {})],
        [("ReduceMean", ["map", "axes"], "raw", {"keepdims": 0}), ("Relu", ["raw"], "pooled", {}), *LINEAR["gemm"]],
    ],
    ids=["largest", "bent after", "bent before"],
)  # fmt: skip
def test_other_heads_are_left_alone(nodes: list[Node]) -> None:
    assert find_linear_head(Wiring(network(nodes).graph)) is None
