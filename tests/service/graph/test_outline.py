"""What a file written by ONNX's own library consists of, as its outline says it."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator

from service.errors import ServableError
from service.graph.outline import (
    ITEM_BYTES,
    MOST_DEPTH,
    MOST_DIMENSIONS,
    Graph,
    Outline,
    Tensor,
    elements,
    read_outline,
)

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def outline_of(folder: Path, model: ModelProto | bytes, *wanted: str) -> Outline:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return read_outline(path, frozenset(wanted))


def model_of(*nodes: NodeProto, tensors: tuple[TensorProto, ...] = ()) -> ModelProto:
    return helper.make_model(GraphProto(node=nodes, name="graph", initializer=tensors))


def constant(folder: Path, **attribute: Any) -> Tensor:
    """Return what the outline says of a `Constant` node."""
    model = model_of(helper.make_node("Constant", [], ["made"], **attribute))
    return outline_of(folder, model).graph.literals["made"]


def initializer(folder: Path, tensor: TensorProto) -> Tensor:
    (found,) = outline_of(folder, model_of(tensors=(tensor,))).graph.tensors
    return found


def test_every_node_is_counted_and_the_wanted_ones_are_kept(tmp_path: Path) -> None:
    model = model_of(
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gelu", ["b"], ["c"], domain="com.microsoft"),
        helper.make_node("Tile", ["c", "by"], ["d", "second"], domain="ai.onnx"),
    )
    graph = outline_of(tmp_path, model, "Tile").graph
    assert graph.operators == {("", "Relu"): 2, ("com.microsoft", "Gelu"): 1, ("", "Tile"): 1}
    (tile,) = graph.nodes
    assert (tile.operator, tile.domain, tile.inputs, tile.output) == ("Tile", "", ["c", "by"], "d")


def test_attributes_of_numbers_are_read_with_their_signs(tmp_path: Path) -> None:
    node = helper.make_node(
        "Pad",
        ["x"],
        ["y"],
        pads=[0, -2, 2**62],
        value=-0.5,
        scales=[0.25, 3.0],
        axis=-1,
        mode="edge",
    )
    (found,) = outline_of(tmp_path, model_of(node), "Pad").graph.nodes
    assert {name: values for name, values in found.numbers.items() if values} == {
        "pads": (0, -2, 2**62),
        "value": (-0.5,),
        "scales": (0.25, 3.0),
        "axis": (-1,),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,), (64,)])
def test_few_values_are_read_from_raw_bytes(
    tmp_path: Path, dtype: type, shape: tuple[int, ...]
) -> None:
    values: np.ndarray = (np.arange(np.prod(shape, dtype=int)) - 1).reshape(shape).astype(dtype)
    found = initializer(tmp_path, numpy_helper.from_array(values, "w"))
    assert (found.name, found.shape, found.stored) == ("w", shape, values.nbytes)
    assert found.type == helper.np_dtype_to_tensor_dtype(values.dtype)
    assert found.values == tuple(values.ravel().tolist())


@pytest.mark.parametrize(
    ("kind", "values"), [(FLOAT, [0.5, -2.0]), (TensorProto.DOUBLE, [0.1, 1e300]), (INT64, [-1, 7])]
)
def test_few_values_are_read_from_typed_fields(
    tmp_path: Path, kind: int, values: list[float]
) -> None:
    found = initializer(tmp_path, helper.make_tensor("w", kind, [2], values))
    assert found.values == tuple(values)


def test_numbers_one_by_one_are_the_same_as_packed_ones(tmp_path: Path) -> None:
    """A writer may do either (protobuf.dev/programming-guides/encoding)."""
    dims, kind, name = b"\x08\x02", b"\x10\x01", b"\x42\x01w"
    one_by_one = b"\x25" + struct.pack("<f", 0.5) + b"\x25" + struct.pack("<f", -2)  # float_data
    tensor = dims + kind + one_by_one + name
    graph = b"\x2a" + bytes([len(tensor)]) + tensor  # initializer
    found = outline_of(tmp_path, b"\x3a" + bytes([len(graph)]) + graph).graph.literals["w"]
    assert found == Tensor("w", (2,), FLOAT, 2, (), (0.5, -2.0))


def test_the_values_of_many_are_not_read_but_their_bytes_are_counted(tmp_path: Path) -> None:
    for count in (129, 1000):
        found = initializer(tmp_path, numpy_helper.from_array(np.ones(count, np.float32), "w"))
        assert (found.values, found.stored, found.shape) == (None, 4 * count, (count,))
        packed = helper.make_tensor("w", INT64, [count], [1] * count)
        assert initializer(tmp_path, packed).values is None


def test_values_that_do_not_fill_their_shape_are_none(tmp_path: Path) -> None:
    short = TensorProto(name="w", dims=[3], data_type=INT64, raw_data=bytes(16))
    assert initializer(tmp_path, short).values is None
    cut = TensorProto(name="w", dims=[2], data_type=INT64, raw_data=bytes(15))
    assert initializer(tmp_path, cut).values is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_value(tmp_path: Path, value: float) -> None:
    found = initializer(tmp_path, numpy_helper.from_array(np.array([value], np.float32), "w"))
    assert found.values is None


def test_data_in_other_files_is_named(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", dims=[4], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "64"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    found = initializer(tmp_path, tensor)
    assert (found.files, found.stored, found.values) == (("weights.bin",), 0, None)


def test_a_constant_node_is_a_literal_and_no_node(tmp_path: Path) -> None:
    array = np.array([[1, 2]], np.int64)
    found = constant(tmp_path, value=numpy_helper.from_array(array))
    assert (found.shape, found.values) == ((1, 2), (1, 2))
    model = model_of(helper.make_node("Constant", [], ["made"], value_int=3))
    graph = outline_of(tmp_path, model, "Constant").graph
    assert graph.nodes == []
    assert graph.operators == {("", "Constant"): 1}


def made_by_onnx(**attribute: Any) -> np.ndarray:
    """Return what ONNX's reference evaluator makes of a `Constant` node."""
    node = helper.make_node("Constant", [], ["made"], **attribute)
    graph = helper.make_graph([node], "graph", [], [onnx.ValueInfoProto(name="made")])
    (value,) = ReferenceEvaluator(helper.make_model(graph)).run(None, {})
    assert isinstance(value, np.ndarray)
    return value


@pytest.mark.parametrize(
    "attribute",
    [
        {"value_int": -3},
        {"value_ints": [4, 5, 6]},
        {"value_float": 0.5},
        {"value_floats": [0.25, 2.0]},
    ],
    ids=["int", "ints", "float", "floats"],
)
def test_a_constant_of_an_attribute_is_what_onnx_makes_of_it(
    tmp_path: Path, attribute: dict[str, Any]
) -> None:
    found, expected = constant(tmp_path, **attribute), made_by_onnx(**attribute)
    assert found.values == tuple(expected.ravel().tolist())
    assert found.shape == expected.shape
    assert found.type == helper.np_dtype_to_tensor_dtype(expected.dtype)


@pytest.mark.parametrize("count", [64, 65, 100])
def test_of_many_numbers_a_constant_says_the_first(tmp_path: Path, count: int) -> None:
    values = [*range(count)]
    found = constant(tmp_path, value_ints=values)
    assert found.values == tuple(values[:64])


def test_a_constant_whose_values_stand_elsewhere_says_none(tmp_path: Path) -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([7], np.int64), "values"),
        numpy_helper.from_array(np.array([1], np.int64)),
        [3],
    )
    found = constant(tmp_path, sparse_value=sparse)
    assert (found.shape, found.values) == ((3,), None)
    assert constant(tmp_path, value_strings=["a", "b"]).values is None
    node = helper.make_node("Constant", [], ["made"])
    node.attribute.add(name="value_ints", ref_attr_name="shape", type=AttributeProto.INTS)
    assert outline_of(tmp_path, model_of(node)).graph.literals["made"].values is None


def test_a_sparse_constant_has_its_dense_shape(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(np.array([3, 999], np.int64)), [10, 100]
    )
    model = model_of()
    model.graph.sparse_initializer.append(sparse)
    graph = outline_of(tmp_path, model).graph
    assert [(one.name, one.shape, one.type) for one in graph.sparse] == [("w", (10, 100), FLOAT)]
    assert [one.shape for one in graph.tensors] == [(2,)]
    assert graph.literals["w"].shape == (10, 100)


def branching(depth: int) -> GraphProto:
    """Return a graph with conditions within conditions, `depth` graphs in all, the innermost with a constant."""
    inner = numpy_helper.from_array(np.ones(2, np.float32), "inner")
    graph = GraphProto(node=[helper.make_node("Relu", ["x"], ["y"])], initializer=[inner])
    for _ in range(depth - 1):
        graph = GraphProto(node=[helper.make_node("If", ["c"], ["y"], then_branch=graph)])
    return graph


def test_graphs_within_nodes_are_kept_with_their_own_constants(tmp_path: Path) -> None:
    graph: Graph = outline_of(tmp_path, helper.make_model(branching(3))).graph
    for _ in range(2):
        assert graph.operators == {("", "If"): 1}
        assert graph.literals == {}
        ((graph,),) = [node.graphs for node in graph.nodes]
    assert graph.operators == {("", "Relu"): 1}
    assert graph.literals["inner"].values == (1.0, 1.0)


def test_graphs_are_nested_up_to_a_depth(tmp_path: Path) -> None:
    outline_of(tmp_path, helper.make_model(branching(MOST_DEPTH)))
    with pytest.raises(ServableError, match="nested more than 16 deep"):
        outline_of(tmp_path, helper.make_model(branching(MOST_DEPTH + 1)))


def test_functions_are_found_by_domain_and_name(tmp_path: Path) -> None:
    model = model_of()
    for domain, name in (("local", "f"), ("ai.onnx", "g")):
        body = [helper.make_node("Relu", ["x"], ["y"])]
        model.functions.append(helper.make_function(domain, name, ["x"], ["y"], body, []))
    functions = outline_of(tmp_path, model).functions
    assert set(functions) == {("local", "f"), ("", "g")}
    assert functions["local", "f"].operators == {("", "Relu"): 1}
    model.functions.append(model.functions[0])
    with pytest.raises(ServableError, match="two functions of the name local:f"):
        outline_of(tmp_path, model)


def test_an_attribute_with_two_values_is_refused(tmp_path: Path) -> None:
    """A parser merges two tensors of one attribute into another one, which nobody has checked."""
    one = TensorProto(dims=[1], data_type=FLOAT, raw_data=bytes(4)).SerializeToString()
    attribute = AttributeProto(name="value", type=AttributeProto.TENSOR).SerializeToString()
    twice = attribute + 2 * (b"\x2a" + bytes([len(one)]) + one)
    node = b"\x22\x08Constant" + b"\x2a" + bytes([len(twice)]) + twice
    graph = b"\x0a" + bytes([len(node)]) + node
    assert onnx.load_from_string(
        b"\x3a" + bytes([len(graph)]) + graph
    ).graph.node  # a parser takes it
    with pytest.raises(ServableError, match="'value' has two values"):
        outline_of(tmp_path, b"\x3a" + bytes([len(graph)]) + graph)


def test_a_constant_has_as_many_dimensions_as_any_network_needs(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", dims=[1] * MOST_DIMENSIONS, data_type=FLOAT, raw_data=bytes(4))
    assert initializer(tmp_path, tensor).shape == (1,) * 64
    tensor.dims.append(1)
    with pytest.raises(ServableError, match="more than 64 dimensions"):
        initializer(tmp_path, tensor)


def test_the_elements_of_a_shape_are_its_product() -> None:
    assert elements(()) == 1
    assert elements((2, 3, 4)) == 24
    assert elements((2**40, 2**40, 0)) == 0
    assert elements((2**40,) * 1000) > 2**63


@pytest.mark.parametrize("kind", [*range(1, 8), *range(9, 17)])
def test_the_bytes_of_an_element_are_numpys(kind: int) -> None:
    expected = helper.tensor_dtype_to_np_dtype(kind).itemsize
    assert ITEM_BYTES[kind] == expected
