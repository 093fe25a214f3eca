"""The bytes of the tensors that a run holds at once, from the shapes in a graph."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from service.graph.run_memory import run_bytes

SIDE = 64
MAP_BYTES = SIDE * SIDE * 4


def network(
    nodes: list[tuple[str, list[str], str]], outputs: list[str], *, known: bool = True
) -> ModelProto:
    """Return a network of operators on maps (N, 1, SIDE, SIDE) of float32."""
    shape: list[str | int | None] = ["N", 1, SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape if known else None)
            for name in outputs
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


CHAIN = [("Relu", ["x"], "a"), ("Relu", ["a"], "b"), ("Relu", ["b"], "c"), ("Relu", ["c"], "d")]


def test_a_chain_holds_two_of_its_maps() -> None:
    assert run_bytes(network(CHAIN, ["d"])) == 2 * MAP_BYTES


def test_a_map_that_is_read_later_or_is_an_output_is_held() -> None:
    skip = [*CHAIN[:3], ("Add", ["c", "a"], "d")]
    assert run_bytes(network(skip, ["d"])) == 3 * MAP_BYTES
    assert run_bytes(network(CHAIN, ["a", "b", "d"])) == 4 * MAP_BYTES
    assert run_bytes(network(CHAIN, ["a", "b", "d"], known=False)) == 4 * MAP_BYTES


@pytest.mark.parametrize("side", [3, 300])  # a weight that is read, and one that is left out
def test_weights_are_not_counted_and_give_their_shape(side: int) -> None:
    model = network([("Conv", ["x", "w"], "a"), ("Relu", ["a"], "b")], ["b"], known=False)
    weights = np.zeros((8, 1, side, side), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert run_bytes(model) == 2 * 8 * MAP_BYTES


def test_a_shape_that_a_graph_computes_from_constants_is_found() -> None:
    model = network(
        [("Reshape", ["x", "to"], "a"), ("Tile", ["a", "times"], "b")], ["b"], known=False
    )
    to, times = np.array([1, SIDE * SIDE]), np.array([5, 1])
    model.graph.initializer.append(numpy_helper.from_array(to, "to"))
    model.graph.initializer.append(numpy_helper.from_array(times, "times"))
    assert run_bytes(model) == 6 * MAP_BYTES


def test_a_graph_whose_shapes_can_not_be_inferred_counts_as_far_as_they_are_stated() -> None:
    broken = network([("Reshape", ["x", "to"], "a"), ("Relu", ["a"], "b")], ["b"])
    broken.graph.initializer.append(numpy_helper.from_array(np.array([7, 7]), "to"))
    assert run_bytes(broken) <= 2 * MAP_BYTES
