"""A file as it is found becomes one plain graph that computes the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporter.errors import GraphError, SourceError
from exporter.sources.foreign_operators import all_nodes, opset_of
from exporter.sources.found_graph import first_line, plain, read_file

FILE = Path("net.onnx")
VALUES = np.array([[-2.0, 0.5, 3.0]], np.float32)
ADDED = np.array([[5.0, 6.0, 7.0]], np.float32)


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def network(
    *nodes: NodeProto, opset: int = 18, outputs: tuple[str, ...] = ("out",), **constants: Any
) -> ModelProto:
    """Return a graph from `x` (1, 3) to these outputs."""
    graph = helper.make_graph(
        nodes,
        "found",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: ModelProto) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results: list[NDArray[np.float32]] = session.run(None, {"x": VALUES})
    return results


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_file_is_read_and_what_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(network(op("Relu", "x", "out")), path)
    assert operators(read_file(path)) == ["Relu"]

    path.write_bytes(b"\xff\xff\xff\xff")
    with pytest.raises(SourceError, match=r"net\.onnx"):
        read_file(path)
    onnx.save(network(), path)
    with pytest.raises(SourceError, match="no operators"):
        read_file(path)
    with pytest.raises(SourceError, match=r"none\.onnx"):
        read_file(tmp_path / "none.onnx")


def test_external_data_that_is_missing_is_named(tmp_path: Path) -> None:
    model = network(op("Mul", "x w", "out"), w=np.array([2.0], np.float32))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)  # fmt: skip
    assert numpy_helper.to_array(read_file(tmp_path / "net.onnx").graph.initializer[0]) == [2.0]

    (tmp_path / "w.bin").unlink()
    with pytest.raises(SourceError, match=r"external data can not be read: .*Keep the data file"):
        read_file(tmp_path / "net.onnx")


def test_a_plain_graph_is_sorted_and_computes_the_same() -> None:
    found = plain(network(op("Neg", "a", "out"), op("Relu", "x", "a")), FILE)

    assert operators(found) == ["Relu", "Neg"]
    np.testing.assert_array_equal(run(found)[0], [[0.0, -0.5, -3.0]])


def test_large_weights_come_back_and_are_no_inputs() -> None:
    weights = np.arange(3 * 3000, dtype=np.float32).reshape(3, 3000)
    model = network(op("MatMul", "x w", "out"), w=weights)

    found = plain(model, FILE)

    assert [value.name for value in found.graph.input] == ["x"]
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), weights)
    np.testing.assert_allclose(run(found)[0], VALUES @ weights, rtol=1e-6)


@pytest.mark.parametrize(("opset", "after"), [(7, 18), (17, 18), (18, 18), (19, 19)])
def test_old_opsets_are_converted_and_newer_ones_stay(opset: int, after: int) -> None:
    found = plain(network(op("Relu", "x", "out"), opset=opset), FILE)

    assert opset_of(found) == after


def test_an_opset_that_is_too_old_is_refused() -> None:
    with pytest.raises(GraphError, match=r"has opset 6; the oldest that can be converted is 7"):
        plain(network(op("Relu", "x", "out"), opset=6), FILE)


def test_the_opset_is_that_of_the_standard_operators() -> None:
    model = network(op("Relu", "x", "out"))
    del model.opset_import[:]
    assert opset_of(model) == 0
    model.opset_import.extend([helper.make_opsetid("my", 3), helper.make_opsetid("ai.onnx", 19)])
    assert opset_of(model) == 19


def test_functions_are_inlined() -> None:
    model = network(op("Twice", "x", "out", domain="my"))
    body = [op("Add", "a a", "b")]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("my", "Twice", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("my", 1))

    found = plain(model, FILE)

    assert "Twice" not in operators(found)
    np.testing.assert_array_equal(run(found)[0], 2 * VALUES)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (op("Frob", "x", "out"), "outside standard ONNX: Frob. A servable must run everywhere"),
        (op("Gelu", "x", "out", domain="com.microsoft"), "Gelu; .*ORT_ENABLE_BASIC"),
        (op("Conv", "x", "out", domain="com.microsoft.nchwc"), "nchwc:Conv; .*ORT_ENABLE_BASIC"),
        (op("QGemm", "x", "out", domain="com.microsoft"), "QGemm; .*quant_format=QuantFormat.QDQ"),
        (op("MatMulNBits", "x", "out", domain="com.microsoft"), "weights of 4 or 8 bits"),
        (op("ATen", "x", "out", domain="org.pytorch.aten"), "ONNX_ATEN_FALLBACK"),
        (op("Scaler", "x", "out", domain="ai.onnx.ml"), "classic machine learning"),
        (op("Mine", "x", "out", domain="com.microsoft"), "com.microsoft:Mine. A servable"),
        (op("EfficientNMS_TRT", "x", "out"), "EfficientNMS_TRT; it runs in TensorRT only"),
        (op("BatchedNMS_TRT", "x", "out"), "BatchedNMS_TRT; it runs in TensorRT only"),
        (op("BatchedNMSDynamic_TRT", "x", "out"), "it runs in TensorRT only"),
        (op("DeformConv2d", "x", "out", domain="custom"), "custom:DeformConv2d; .*opset 19"),
    ],
)
def test_foreign_operators_are_named_with_the_next_step(node: NodeProto, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        plain(network(node), FILE)


def branch(name: str, *nodes: NodeProto, output: str, **constants: Any) -> GraphProto:
    return helper.make_graph(
        nodes,
        name,
        [],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )


def test_foreign_operators_inside_of_branches_are_found() -> None:
    inside = branch("then", op("Frob", "x", "t"), output="t")
    other = branch("else", op("Relu", "x", "e"), output="e")
    choose = op("If", "c", "out", then_branch=inside, else_branch=other)
    model = network(choose, c=np.array(1, bool))

    found = [node.op_type for node in all_nodes(model.graph)]
    assert found[0] == "If"
    assert sorted(found) == ["Frob", "If", "Relu"]
    with pytest.raises(GraphError, match="Frob"):
        plain(model, FILE)


def chosen(condition: NDArray[Any] | None) -> ModelProto:
    """Return a graph that doubles x and adds one in one branch, and takes a tensor from outside in the other."""
    two = np.array([2.0], np.float32)
    then = branch(
        "then", op("Mul", "x two", "inner"), op("Add", "inner one", "t"), output="t", two=two
    )
    other = branch("else", op("Identity", "negative", "e"), output="e")
    nodes = [
        op("Neg", "x", "negative"),
        op("If", "condition", "picked", then_branch=then, else_branch=other),
        op("Identity", "picked", "out"),
    ]
    constants: dict[str, Any] = {"one": np.array([1.0], np.float32)}
    if condition is None:
        nodes.insert(
            0, op("Constant", "", "condition", value=numpy_helper.from_array(np.array(1, bool)))
        )
    else:
        constants["condition"] = condition
    return network(*nodes, **constants)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(np.array(1, bool), 2 * VALUES + 1), (np.array([0], bool), -VALUES), (None, 2 * VALUES + 1)],
)
def test_an_if_with_a_known_condition_is_replaced_by_its_branch(
    condition: NDArray[Any] | None, expected: NDArray[np.float32]
) -> None:
    model = chosen(condition)

    found = plain(model, FILE)

    assert "If" not in operators(found)
    np.testing.assert_array_equal(run(found)[0], expected)
    np.testing.assert_array_equal(run(model)[0], expected)


def test_ifs_inside_of_a_taken_branch_are_replaced_too() -> None:
    inner = op(
        "If",
        "condition",
        "deep",
        then_branch=branch("a", op("Abs", "x", "t2"), output="t2"),
        else_branch=branch("b", op("Neg", "x", "e2"), output="e2"),
    )
    outer = op(
        "If",
        "condition",
        "out",
        then_branch=branch("c", inner, output="deep"),
        else_branch=branch("d", op("Relu", "x", "e1"), output="e1"),
    )
    model = network(outer, condition=np.array(1, bool))

    found = plain(model, FILE)

    assert operators(found) == ["Abs"]
    np.testing.assert_array_equal(run(found)[0], np.abs(VALUES))


def test_a_result_of_a_branch_may_be_read_inside_of_it() -> None:
    graphs = [
        branch(name, op(name, "x", "first"), op("Add", "first one", "second"), output="first")
        for name in ("Neg", "Abs")
    ]
    for graph in graphs:
        graph.output.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, None))
    choose = op("If", "condition", "a b", then_branch=graphs[0], else_branch=graphs[1])
    sums = op("Mul", "a b", "out")
    model = network(choose, sums, condition=np.array(1, bool), one=np.array([1.0], np.float32))

    np.testing.assert_array_equal(run(plain(model, FILE))[0], -VALUES * (1 - VALUES))


def test_a_branch_may_be_a_constant() -> None:
    then = branch("then", op("Mul", "x k", "t"), output="t", k=np.array([2.0], np.float32))
    other = branch("else", output="k", k=ADDED)
    choose = op("If", "condition", "picked", then_branch=then, else_branch=other)
    model = network(choose, op("Add", "picked x", "out"), condition=np.array(0, bool))

    found = plain(model, FILE)

    assert operators(found) == ["Add"]
    np.testing.assert_array_equal(run(found)[0], VALUES + ADDED)
    np.testing.assert_array_equal(run(model)[0], VALUES + ADDED)


def test_an_if_that_looks_at_the_image_stays() -> None:
    nodes = [
        op("ReduceMax", "x", "m", keepdims=0),
        op("Greater", "m zero", "condition"),
        op(
            "If",
            "condition",
            "out",
            then_branch=branch("a", op("Abs", "x", "t"), output="t"),
            else_branch=branch("b", op("Neg", "x", "e"), output="e"),
        ),
    ]
    found = plain(network(*nodes, zero=np.array(0.0, np.float32)), FILE)

    assert "If" in operators(found)
    np.testing.assert_array_equal(run(found)[0], np.abs(VALUES))


def test_an_output_without_a_shape_or_a_type_is_valid() -> None:
    model = network(op("Relu", "x", "out"))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UNDEFINED

    assert operators(plain(model, FILE)) == ["Relu"]


def test_a_graph_that_is_not_valid_is_refused_by_the_checker_s_words() -> None:
    with pytest.raises(SourceError, match=r"net\.onnx is not a valid ONNX file: .*none"):
        plain(network(op("Add", "x none", "out")), FILE)


def test_the_first_line_of_an_error_is_that_of_its_words_or_its_kind() -> None:
    assert first_line(ValueError("\n  one \n two")) == "one"
    assert first_line(KeyError()) == "KeyError"


def test_codes_and_places_in_the_sources_of_onnx_runtime_are_left_out() -> None:
    words = "Non-zero status code returned while running Conv node."
    place = "/onnxruntime_src/core/graph/load.h:46 void onnxruntime::load(const std::string&, int) "
    assert first_line(RuntimeError(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : {words}")) == words
    assert first_line(RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : {place}{words}")) == words
