"""Nodes are sorted by what they read, inside of branches too."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from exporter.errors import GraphError
from exporter.node_order import fixed_tensors, in_order, tensors_read


def op(name: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs, outputs, **attributes)


def branch(output: str, *nodes: NodeProto) -> GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, output, [], [value])


def choice(condition: str, then: GraphProto, other: GraphProto) -> NodeProto:
    return op("If", [condition], "chosen", then_branch=then, else_branch=other)


def names(nodes: list[NodeProto]) -> list[str]:
    return [node.output[0] for node in nodes]


A, B, C = op("Relu", ["x"], "a"), op("Add", ["a", "x"], "b"), op("Mul", ["a", "b"], "c", "also")


def test_each_node_comes_after_those_that_it_reads() -> None:
    for given in ([C, B, A], [B, A, C], [A, B, C]):
        assert names(in_order(given)) == ["a", "b", "c"]


def test_a_node_that_reads_nothing_may_be_anywhere() -> None:
    fixed = op("Constant", [], "k", value=numpy_helper.from_array(np.zeros(1)))

    assert sorted(names(in_order([C, fixed, B, A]))) == ["a", "b", "c", "k"]


def test_optional_inputs_and_outputs_without_a_name_are_no_tensors() -> None:
    first = op("Dropout", ["x", ""], "", "mask")
    second = op("Clip", ["mask", "", ""], "")

    assert [node.op_type for node in in_order([second, first])] == ["Dropout", "Clip"]
    assert tensors_read(second) == {"mask"}


def test_what_a_branch_reads_is_needed_by_its_node() -> None:
    chosen = choice("x", branch("t", op("Neg", ["b"], "t")), branch("e", op("Neg", ["x"], "e")))

    assert names(in_order([chosen, B, A])) == ["a", "b", "chosen"]


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Relu", ["b"], "a"), op("Relu", ["a"], "b")],
        [op("Relu", ["a"], "a")],
        [choice("x", branch("t", op("Neg", ["chosen"], "t")), branch("e"))],
    ],
)
def test_a_cycle_is_refused(nodes: list[NodeProto]) -> None:
    with pytest.raises(GraphError, match="The graph has a cycle"):
        in_order(nodes)


def test_a_branch_s_own_names_and_its_outputs_are_read() -> None:
    """What is computed inside of a branch is read there; a name outside may be the same."""
    inner = choice("p", branch("q", op("Neg", ["deep"], "q")), branch("outer"))
    node = choice("c", branch("t", inner, op("Add", ["chosen", "k"], "t")), branch("passed"))

    assert tensors_read(node) >= {"c", "p", "deep", "outer", "k", "passed"}
    assert "x" not in tensors_read(node)


def test_an_attribute_may_hold_several_graphs() -> None:
    node = op("Custom", ["x"], "y", many=[branch("a1", A), branch("b1", B)])

    assert tensors_read(node) >= {"x", "a", "a1", "b1"}


def test_tensors_that_no_input_reaches_are_fixed() -> None:
    nodes = [
        op("DequantizeLinear", ["w", "s"], "weight"),
        op("Constant", [], "k", value=numpy_helper.from_array(np.zeros(1))),
        op("Add", ["weight", "k"], "sum"),
        op("Conv", ["x", "sum"], "map"),
        op("Mul", ["k", "map"], "scaled"),
    ]
    held = [numpy_helper.from_array(np.zeros(1, np.int8), name) for name in ("w", "s")]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [entry], [], held)

    assert fixed_tensors(graph) == {"w", "s", "weight", "k", "sum"}
    assert fixed_tensors(onnx.GraphProto()) == set()
