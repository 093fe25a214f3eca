"""ONNX graphs that are changed and completed."""

import numpy as np
import onnx
import pytest
from onnx import helper

from exporter.errors import GraphError
from exporter.graph import (
    Graph,
    attribute,
    consumers,
    float_output,
    floats,
    is_grafted,
    replace_nodes,
    with_outputs,
)
from exporter.sessions import unoptimized_session
from tests.exporter.graphs import SIDE, pixel_graph, small_classifier


def relu_graph() -> onnx.ModelProto:
    return pixel_graph(helper.make_node("Relu", ["pixels"], ["raw"]))


def test_the_completed_model_is_sorted_and_has_nothing_unused_and_no_notes() -> None:
    model = relu_graph()
    model.graph.node[0].doc_string = "made in a folder of some machine"
    model.graph.node.insert(0, helper.make_node("Neg", ["raw"], ["negative"]))
    model.graph.node.append(helper.make_node("Abs", ["pixels"], ["unused"]))
    graph = Graph(model)
    graph.set_outputs([float_output("negative", 3, SIDE, SIDE)])

    done = graph.finish()

    assert [node.op_type for node in done.graph.node] == ["Relu", "Neg"]
    assert b"machine" not in done.SerializeToString()


def test_grafted_nodes_and_constants_have_names_of_their_own() -> None:
    graph = Graph(relu_graph())
    first, second = (graph.constant("gain", floats(value)) for value in (1.0, 2.0))
    assert first != second
    doubled = graph.add("Mul", ["raw", second], output="logits")
    graph.set_outputs([float_output(doubled, 3, SIDE, SIDE)])

    pixels = np.full((1, 3, SIDE, SIDE), 2, np.float32)
    (found,) = unoptimized_session(graph.finish()).run(None, {"pixels": pixels})

    assert (found == 4).all()


def test_a_part_of_a_servable_keeps_apart_from_what_is_grafted_onto_it() -> None:
    """Its names have our prefix: they were taken a second time, and the graph got a cycle or the wrong tensor."""
    model = pixel_graph(
        helper.make_node("Mul", ["pixels", "foveal.gain_1"], ["foveal.mul_2"], "foveal.Mul_3"),
        helper.make_node("Neg", ["foveal.mul_2"], ["foveal.neg_7"], "foveal.Neg_4"),
        outputs=["foveal.neg_7"],
        **{"foveal.gain_1": floats(2.0)},
    )
    graph = Graph(model)
    assert not any(is_grafted(node) for node in graph.nodes)
    for _ in range(8):
        last = graph.add("Mul", ["foveal.neg_7", graph.constant("gain", floats(3.0))])
    graph.add("Identity", [last], output="logits")
    graph.set_outputs([float_output("logits", 3, SIDE, SIDE)])

    pixels = np.full((1, 3, SIDE, SIDE), 1, np.float32)
    (found,) = unoptimized_session(graph.finish()).run(None, {"pixels": pixels})

    assert (found == -6).all()


def test_a_name_that_a_servable_needs_is_freed_and_a_taken_name_is_refused() -> None:
    graph = Graph(relu_graph())
    assert graph.move_away(["raw"], ["raw", "features"]) != ["raw"]
    with pytest.raises(GraphError, match="already has a tensor 'pixels'"):
        graph.rename(graph.nodes[0].output[0], "pixels")


def test_constants_written_as_nodes_become_initializers() -> None:
    model = pixel_graph(
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["pixels", "two"], ["raw"]),
    )
    graph = Graph(model)
    assert [node.op_type for node in graph.nodes] == ["Mul"]
    assert graph.value("two") == 2
    assert graph.value("raw") is None


def test_operators_outside_onnx_are_refused_by_name() -> None:
    model = relu_graph()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(GraphError, match=r"com\.example:Relu"):
        Graph(model)


def test_a_cycle_is_refused() -> None:
    graph = Graph(relu_graph())
    graph.nodes[0].input[0] = "raw"
    with pytest.raises(GraphError, match="cycle"):
        graph.draft()


def test_consumers_are_the_nodes_that_read_a_tensor() -> None:
    model = small_classifier()
    assert [node.op_type for node in consumers(model.graph.node)["a"]] == ["Relu"]


def test_an_attribute_that_is_missing_has_the_default() -> None:
    node = helper.make_node("Gemm", ["a", "b"], ["c"], transB=1)
    assert (attribute(node, "transB", 0), attribute(node, "transA", 0)) == (1, 0)


def test_a_model_with_other_outputs_is_a_copy() -> None:
    model = small_classifier()
    probe = with_outputs(model, ["a", "e"])
    assert [value.name for value in probe.graph.output] == ["a", "e"]
    assert [value.name for value in model.graph.output] == ["raw"]


def test_nodes_may_be_replaced_by_some_of_themselves() -> None:
    model = small_classifier()
    replace_nodes(model.graph, (node for node in model.graph.node if node.op_type == "Conv"))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
