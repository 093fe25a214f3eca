from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from service.graph.wiring import Wiring, attribute, reduced_axes
from tests.service.graph.graphs import Node, graph_of, run

WEIGHTS = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)


def wiring_of(nodes: list[Node], **constants: ArrayLike) -> Wiring:
    return Wiring(graph_of(nodes, "out", constants, image=[1, 3, 4, 4]).graph)


def constant_node(**attributes: Any) -> Wiring:
    return wiring_of([("Constant", [], "out", attributes)])


def test_the_input_is_the_first_one_that_is_no_initializer() -> None:
    model = graph_of(
        [("Add", ["image", "w"], "out", {})], "out", {"w": np.ones(1, np.float32)}, image=[1]
    )
    listed = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    model.graph.input.insert(0, listed)  # as exporters did before ONNX IR version 4
    assert Wiring(model.graph).input_name == "image"


def test_a_tensor_has_its_producer_and_inputs_and_constants_have_none() -> None:
    wiring = wiring_of([("Add", ["image", "w"], "out", {})], w=np.ones(1, np.float32))
    producer = wiring.producer("out")
    assert producer is not None
    assert producer.op_type == "Add"
    assert wiring.producer("image") is None
    assert wiring.producer("w") is None


def test_an_output_that_a_node_leaves_out_has_no_producer() -> None:
    node = helper.make_node("Dropout", ["image"], ["out", ""])
    graph = helper.make_graph([node], "graph", [onnx.ValueInfoProto(name="image")], [])
    wiring = Wiring(graph)
    assert wiring.producer("") is None
    assert [inputs for _, inputs in wiring.dependent_nodes()] == [["image"]]


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"value": numpy_helper.from_array(np.array([2.5], np.float32))}, [2.5]),
        ({"value_int": 7}, 7),
        ({"value_ints": [1, 2]}, [1, 2]),
        ({"value_float": 0.5}, 0.5),
        ({"value_floats": [0.5, 1.5]}, [0.5, 1.5]),
    ],
)
def test_a_constant_node_has_its_value(attributes: dict[str, Any], value: object) -> None:
    found = constant_node(**attributes).constant("out")
    assert found is not None
    assert found.tolist() == value


def test_a_constant_of_text_is_not_a_number() -> None:
    assert constant_node(value_string="text").constant("out") is None


def test_a_constant_is_found_behind_casts() -> None:
    nodes: list[Node] = [
        ("Cast", ["w"], "wide", {"to": TensorProto.FLOAT}),
        ("Dropout", ["wide"], "kept", {}),
        ("Identity", ["kept"], "out", {}),
    ]
    found = wiring_of(nodes, w=np.array([1, 2], np.float16)).constant("out")
    assert found is not None
    assert found.tolist() == [1, 2]


def test_what_depends_on_the_input_or_is_computed_is_no_constant() -> None:
    nodes: list[Node] = [("Add", ["image", "w"], "sum", {}), ("Add", ["w", "w"], "out", {})]
    wiring = wiring_of(nodes, w=np.ones(1, np.float32))
    assert wiring.constant("image") is None
    assert wiring.constant("sum") is None
    assert wiring.constant("out") is None
    assert wiring.constant("no such tensor") is None


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("zero_point", [True, False])
def test_a_dequantized_weight_is_what_onnx_runtime_makes(
    *, axis: int | None, zero_point: bool
) -> None:
    channels = WEIGHTS.shape[1 if axis is None else axis]
    constants: dict[str, ArrayLike] = {
        "w": WEIGHTS,
        "scale": np.linspace(0.1, 0.3, channels, dtype=np.float32),
        "zero": np.arange(1, channels + 1, dtype=np.int8),
    }
    inputs = ["w", "scale", "zero"] if zero_point else ["w", "scale"]
    options = {} if axis is None else {"axis": axis}
    node: Node = ("DequantizeLinear", inputs, "values", options)
    model = graph_of([node, ("Add", ["image", "values"], "out", {})], "out", constants, image=[1])
    found = Wiring(model.graph).constant("values")
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run(model, np.zeros(1, np.float32)), rtol=1e-6)


def test_one_scale_serves_a_whole_weight() -> None:
    node: Node = ("DequantizeLinear", ["w", "scale", "zero"], "out", {})
    found = wiring_of([node], w=WEIGHTS, scale=np.float32(0.5), zero=np.int8(2)).constant("out")
    assert found is not None
    np.testing.assert_array_equal(found, (WEIGHTS.astype(np.float32) - 2) * 0.5)


def test_a_dequantized_input_is_no_constant() -> None:
    wiring = wiring_of([("DequantizeLinear", ["image", "scale"], "out", {})], scale=np.float32(0.5))
    assert wiring.constant("out") is None


def test_only_nodes_that_depend_on_the_input_are_listed_with_those_inputs() -> None:
    nodes: list[Node] = [
        ("Relu", ["image"], "a", {}),
        ("Relu", ["w"], "b", {}),
        ("Add", ["a", "b"], "c", {}),
        ("Add", ["c", "image"], "out", {}),
    ]
    listed = wiring_of(nodes, w=np.ones(1, np.float32)).dependent_nodes()
    assert [(node.output[0], inputs) for node, inputs in listed] == [
        ("a", ["image"]),
        ("c", ["a"]),
        ("out", ["c", "image"]),
    ]


def test_an_attribute_that_a_node_does_not_have_is_the_default() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 3])
    assert list(attribute(node, "strides", (1, 1))) == [2, 3]
    assert attribute(node, "dilations", (1, 1)) == (1, 1)


def test_reduced_axes_are_an_attribute_or_an_input_or_not_there() -> None:
    wiring = wiring_of([], axes=np.array([-1, 2]))
    inputs = [["x"], ["x", "axes"], ["x"], ["x", "computed"]]
    nodes = [helper.make_node("ReduceMean", names, ["y"]) for names in inputs]
    nodes[0].attribute.append(helper.make_attribute("axes", [1, 2]))
    assert [reduced_axes(wiring, node) for node in nodes] == [{1, 2}, {-1, 2}, None, None]
