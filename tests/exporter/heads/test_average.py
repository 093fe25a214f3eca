"""Which linear nodes add up their input with weights as an average has them."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from exporter.graph import Graph
from exporter.heads.average import largest_share
from tests.exporter.graphs import pixel_graph

HALVES = np.full((2, 2), 0.5, np.float32)
KERNEL = np.full((3, 1, 2, 2), 0.25, np.float32)


def share(name: str, weights: Any, *, bias: Any = None, **attributes: Any) -> float | None:
    constants = {"w": np.asarray(weights, np.float32)}
    if bias is not None:
        constants["b"] = np.asarray(bias, np.float32)
    node: NodeProto = helper.make_node(name, ["pixels", *constants], ["out"], **attributes)
    return largest_share(Graph(pixel_graph(node, outputs=["out"], **constants)), node)


@pytest.mark.parametrize(
    ("name", "weights", "attributes", "expected"),
    [
        ("MatMul", HALVES, {}, 1.0),
        ("MatMul", [[0.5, 0.1], [0.75, 0.1]], {}, 1.25),
        ("Gemm", [[0.5, 0.1], [0.75, 0.1]], {"transB": 1}, 0.85),
        ("Gemm", HALVES, {"alpha": 0.5}, 0.5),
        ("Conv", KERNEL, {"group": 3}, 1.0),
        ("ConvTranspose", KERNEL, {"group": 3, "strides": [2, 2]}, 0.25),
        ("ConvTranspose", KERNEL, {}, 3.0),
        ("Einsum", HALVES, {"equation": "nk,kc->nc"}, np.inf),
        ("MatMul", [[0.5, -0.1]], {}, None),
        ("Relu", HALVES, {}, None),
    ],
)
def test_the_largest_sum_of_weights(
    name: str, weights: Any, attributes: dict[str, Any], expected: float | None
) -> None:
    found = share(name, weights, **attributes)

    assert found == (None if expected is None else pytest.approx(expected))


def test_an_offset_is_no_average_and_zeros_are_none() -> None:
    assert share("Gemm", HALVES, bias=[0.0, 0.1]) is None
    assert share("Gemm", HALVES, bias=[0.0, 0.0]) == 1.0


def test_weights_that_are_computed_are_none() -> None:
    node = helper.make_node("MatMul", ["pixels", "pixels"], ["out"])

    assert largest_share(Graph(pixel_graph(node, outputs=["out"])), node) is None
