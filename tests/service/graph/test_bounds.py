"""Files that harm what loads them are refused by what stands in them; real networks are not."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.errors import ServableError
from service.graph.bounds import MAX_TENSOR_BYTES, MOST_NODES, check_bounds
from service.graph.outline import MOST_DEPTH
from tests.bad_networks import endless
from tests.hostile_networks import (
    calling_itself,
    crashing,
    huge_computed,
    huge_constant,
    nested_conditions,
    nested_functions,
    with_nodes,
)
from tests.live import MODELS
from tests.servables import color_model

GIB = 2**28
"""Floats of one GiB, which is what a tensor may take."""
assert 4 * GIB == MAX_TENSOR_BYTES


def check(folder: Path, model: onnx.ModelProto | bytes, **options: object) -> None:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    check_bounds(path, **options)  # type: ignore[arg-type]


def refuses(folder: Path, model: onnx.ModelProto | bytes, reason: str, **options: object) -> None:
    with pytest.raises(ServableError, match=reason) as raised:
        check(folder, model, **options)
    assert str(raised.value).startswith(str(folder))


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*/model.onnx")), ids=lambda p: p.parts[-3])
def test_the_bundled_networks_are_within_bounds(path: Path) -> None:
    check_bounds(path)


def test_the_networks_that_onnx_tests_itself_with_are_within_bounds() -> None:
    """All but those that train."""
    folder = Path(next(iter(onnx.__path__))) / "backend" / "test" / "data"
    models = [path for path in folder.rglob("*.onnx") if "gradient" not in path.parent.name]
    if not models:
        pytest.skip("this build of onnx does not bring its test data")
    for path in models:
        check_bounds(path)


def test_what_only_a_run_shows_passes(tmp_path: Path) -> None:
    for model in (endless(), huge_computed(), crashing()):
        check(tmp_path, model)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def node(operator: str, *inputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), ["made"], **attributes)


ONE = np.ones(1, np.float32)
AT_LIMIT_AND_ABOVE: dict[str, tuple[NodeProto, dict[str, object], dict[str, object]]] = {
    "ConstantOfShape": (node("ConstantOfShape", "a"), {"a": ints(GIB)}, {"a": ints(GIB + 1)}),
    "ConstantOfShape, several sides": (
        node("ConstantOfShape", "a"),
        {"a": ints(2**14, 2**14)},
        {"a": ints(2**14, 2**14 + 1)},
    ),
    "ConstantOfShape, int64": (
        node("ConstantOfShape", "a", value=numpy_helper.from_array(ints(7))),
        {"a": ints(GIB // 2)},
        {"a": ints(GIB // 2 + 1)},
    ),
    "ConstantOfShape, bytes": (
        node("ConstantOfShape", "a", value=numpy_helper.from_array(np.zeros(1, np.uint8))),
        {"a": ints(4 * GIB)},
        {"a": ints(4 * GIB + 1)},
    ),
    "Expand": (
        node("Expand", "x", "a"),
        {"x": ONE, "a": ints(GIB)},
        {"x": ONE, "a": ints(GIB + 1)},
    ),
    "Expand of the input": (
        node("Expand", "logits", "a"),
        {"a": ints(GIB, 1)},
        {"a": ints(GIB + 1, 1)},
    ),
    "Tile": (node("Tile", "x", "a"), {"x": ONE, "a": ints(GIB)}, {"x": ONE, "a": ints(GIB + 1)}),
    "Tile of four": (
        node("Tile", "x", "a"),
        {"x": np.ones(4, np.float32), "a": ints(GIB // 4)},
        {"x": np.ones(4, np.float32), "a": ints(GIB // 4 + 1)},
    ),
    "Range": (
        node("Range", "x", "a", "y"),
        {"x": np.int64(0), "a": np.int64(GIB // 2), "y": np.int64(1)},
        {"x": np.int64(0), "a": np.int64(GIB // 2 + 1), "y": np.int64(1)},
    ),
    "Range, down": (
        node("Range", "x", "a", "y"),
        {"x": np.int64(GIB), "a": np.int64(0), "y": np.int64(-2)},
        {"x": np.int64(GIB + 2), "a": np.int64(0), "y": np.int64(-2)},
    ),
    "RandomNormal": (node("RandomNormal", shape=[GIB]), {}, {}),
    "OneHot": (
        node("OneHot", "i", "a", "v"),
        {"i": ints(0), "a": np.int64(GIB), "v": np.array([0, 1], np.float32)},
        {"i": ints(0), "a": np.int64(GIB + 1), "v": np.array([0, 1], np.float32)},
    ),
    "Pad": (
        node("Pad", "x", "a"),
        {"x": ONE, "a": ints(GIB - 2, 1)},
        {"x": ONE, "a": ints(GIB - 1, 1)},
    ),
    "Resize by sizes": (
        node("Resize", "x", "", "", "a"),
        {"x": ONE, "a": ints(1, 1, 2**14, 2**14)},
        {"x": ONE, "a": ints(1, 1, 2**14, 2**14 + 1)},
    ),
    "Resize by scales": (
        node("Resize", "x", "", "a"),
        {"x": ONE, "a": np.array([1, 1, 2**14, 2**14], np.float32)},
        {"x": ONE, "a": np.array([1, 1, 2**14, 2**14 + 1], np.float32)},
    ),
    "HannWindow": (node("HannWindow", "a"), {"a": np.int64(GIB)}, {"a": np.int64(GIB + 1)}),
}


COLUMN, ROW = np.zeros((2**14, 1), np.float32), np.zeros((1, 2**14), np.float32)
ABOVE = np.zeros((1, 2**14 + 1), np.float32)
AT_LIMIT_AND_ABOVE |= {
    operator: (node(operator, "a", "b"), {"a": COLUMN, "b": ROW}, {"a": COLUMN, "b": ABOVE})
    for operator in ("Add", "MatMul", "Mul", "Pow", "Max")
}


@pytest.mark.parametrize("kind", AT_LIMIT_AND_ABOVE)
def test_a_tensor_made_out_of_constants_has_a_limit(kind: str, tmp_path: Path) -> None:
    made, allowed, above = AT_LIMIT_AND_ABOVE[kind]
    least = helper.make_node("ReduceMin", ["made"], ["small"])  # what is cast to float is small
    check(tmp_path, with_nodes([made, least], "small", allowed))
    if not above:
        made = node("RandomNormal", shape=[GIB + 1])
    refuses(
        tmp_path,
        with_nodes([made, least], "small", above),
        r"takes at least 107\d{7} bytes; 1073741824 are allowed",
    )
    check(
        tmp_path, with_nodes([made, least], "small", above), max_tensor_bytes=2 * MAX_TENSOR_BYTES
    )


def test_a_shape_may_stand_in_a_constant_node_or_in_typed_fields(tmp_path: Path) -> None:
    made = node("ConstantOfShape", "shape")
    packed = helper.make_tensor("shape", TensorProto.INT64, [1], [GIB + 1])  # int64_data
    assert not packed.raw_data
    for constant in (
        helper.make_node("Constant", [], ["shape"], value=packed),
        helper.make_node("Constant", [], ["shape"], value_ints=[GIB + 1]),
    ):
        refuses(tmp_path, with_nodes([constant, made], "made"), "takes at least")
    model = with_nodes([made], "made")
    model.graph.initializer.append(packed)
    refuses(tmp_path, model, "takes at least")


def test_a_subgraph_sees_the_constants_around_it(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("made", TensorProto.FLOAT, None)
    body = helper.make_graph([node("ConstantOfShape", "shape")], "branch", [], [value])
    choice = helper.make_node("If", ["truth"], ["chosen"], then_branch=body, else_branch=body)
    constants = {"truth": np.ones((), np.bool_), "shape": ints(GIB + 1)}
    refuses(tmp_path, with_nodes([choice], "chosen", constants), "takes at least")


def test_products_of_constants_grow_from_step_to_step_in_their_own_shapes(tmp_path: Path) -> None:
    def chain(side: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Add", ["a", "b"], ["plane"]),
            helper.make_node("Add", ["plane", "plane"], ["twice"]),
            helper.make_node("Where", ["c", "twice", "d"], ["made"]),
        ]
        constants = {
            "a": np.zeros((2**7, 1), np.float32),
            "b": np.zeros((1, 2**7), np.float32),
            "c": np.zeros((2**7, 1, 1), np.bool_),
            "d": np.zeros((side, 1, 1, 1), np.float32),
        }
        return with_nodes(nodes, "made", constants)

    check(tmp_path, chain(2**7))
    with pytest.raises(ServableError, match="of Where takes at least"):
        check(tmp_path, chain(2**7 + 1))


@pytest.mark.parametrize("operator", ["Tile", "Expand", "Pad", "Resize", "Upsample"])
def test_what_is_made_grows_from_step_to_step(tmp_path: Path, operator: str) -> None:
    first = helper.make_node("ConstantOfShape", ["side"], ["first"])
    inputs = {"Resize": ["first", "", "by"]}.get(operator, ["first", "by"])
    last = helper.make_node(operator, inputs, ["made"])
    by = {"Tile": ints(2), "Expand": ints(2, 1), "Pad": ints(1, 1)}
    constants = {"side": ints(GIB // 2), "by": by.get(operator, np.array([2], np.float32))}
    check(tmp_path, with_nodes([first, last], "made", constants))
    constants["side"] = ints(GIB // 2 + 1)
    if operator in {"Expand", "Tile", "Resize", "Upsample"}:
        refuses(
            tmp_path, with_nodes([first, last], "made", constants), "'made' of .* takes at least"
        )
    else:
        check(tmp_path, with_nodes([first, last], "made", constants))


def joined(count: int, axis: int = 0) -> onnx.ModelProto:
    """Return one that joins a constant of a MiB with itself so often, each time what came of it before."""
    names = ["first", *(f"twice_{at}" for at in range(count))]
    nodes = [
        helper.make_node("Concat", [before, before], [after], axis=axis)
        for before, after in itertools.pairwise(names)
    ]
    return with_nodes(nodes, names[-1], {"first": np.zeros((2**17, 2), np.float32)})


@pytest.mark.parametrize("axis", [0, 1, -1, 7])
def test_a_constant_that_is_joined_with_itself_doubles(tmp_path: Path, axis: int) -> None:
    check(tmp_path, joined(10, axis))
    refuses(tmp_path, joined(11, axis), "'twice_10' of Concat takes at least 2147483648 bytes")


CARRIED: dict[str, tuple[list[NodeProto], dict[str, object]]] = {
    "a wider type": ([helper.make_node("Cast", ["bytes"], ["made"], to=TensorProto.FLOAT)], {}),
    "a column and a row": (
        [
            helper.make_node("Range", ["nil", "side", "one"], ["row"]),
            helper.make_node("Unsqueeze", ["row", "axis"], ["column"]),
            helper.make_node("Add", ["row", "column"], ["made"]),
        ],
        {"nil": np.int64(0), "side": np.int64(2**14), "one": np.int64(1), "axis": ints(1)},
    ),
    "many indices": (
        [
            helper.make_node("Expand", ["nil", "count"], ["indices"]),
            helper.make_node("Gather", ["rows", "indices"], ["made"]),
        ],
        {"nil": ints(0), "count": ints(2**20), "rows": np.zeros((1, 2**10), np.float32)},
    ),
    "a shape that is joined and cast": (
        [
            helper.make_node("Cast", ["side"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Concat", ["whole", "whole"], ["shape"], axis=0),
            helper.make_node("ConstantOfShape", ["shape"], ["made"]),
        ],
        {"side": np.array([2**15], np.int32)},
    ),
    "a product of what was turned": (
        [
            helper.make_node("Transpose", ["row"], ["column"]),
            helper.make_node("Reshape", ["column", "as_row"], ["back"]),
            helper.make_node("Gemm", ["column", "back"], ["made"]),
        ],
        {"row": np.zeros((1, 2**15), np.float32), "as_row": ints(1, -1)},
    ),
}


@pytest.mark.parametrize("kind", CARRIED)
def test_what_is_made_is_followed_through_what_carries_it_on(tmp_path: Path, kind: str) -> None:
    nodes, constants = CARRIED[kind]
    if kind == "a wider type":
        zero = numpy_helper.from_array(np.zeros(1, np.uint8))
        nodes = [helper.make_node("ConstantOfShape", ["count"], ["bytes"], value=zero), *nodes]
        constants = {"count": ints(2 * GIB)}
    refuses(tmp_path, with_nodes(nodes, "made", constants), "'made' of .* takes at least")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -7.0])
@pytest.mark.parametrize(
    ("operator", "name"),
    [("Concat", "axis"), ("Gather", "axis"), ("Cast", "to"), ("Transpose", "perm")],
)
def test_a_number_that_is_none_of_its_kind_is_left_to_the_runtime(
    tmp_path: Path, operator: str, name: str, value: float
) -> None:
    made = helper.make_node(operator, ["a", "i"], ["made"])
    made.attribute.append(helper.make_attribute(name, [value, value]))
    check(tmp_path, with_nodes([made], "made", {"a": np.zeros((2, 2)), "i": ints(0)}))


def test_scales_beyond_any_number_are_refused_and_those_below_one_shrink(tmp_path: Path) -> None:
    first = helper.make_node("ConstantOfShape", ["side"], ["first"])
    last = helper.make_node("Resize", ["first", "", "by"], ["made"])
    constants = {"side": ints(GIB), "by": np.array([0.5], np.float32)}
    check(tmp_path, with_nodes([first, last], "made", constants))
    constants["by"] = np.full(20, 3e38, np.float32)
    refuses(tmp_path, with_nodes([first, last], "made", constants), "takes at least")


def test_a_huge_constant_is_refused_with_its_size(tmp_path: Path) -> None:
    refuses(
        tmp_path, huge_constant(), r"'made' of ConstantOfShape takes at least 68719476736 bytes"
    )


def test_a_sparse_constant_counts_with_its_whole_shape(tmp_path: Path) -> None:
    values = numpy_helper.from_array(ONE, "made")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(0)), [GIB + 1])
    model = with_nodes([], "made")
    model.graph.sparse_initializer.append(sparse)
    refuses(tmp_path, model, "a sparse constant takes at least")
    constant = helper.make_node("Constant", [], ["made"], sparse_value=sparse)
    refuses(tmp_path, with_nodes([constant], "made"), "a sparse constant takes at least")
    sparse.dims[0] = GIB
    constant = helper.make_node("Constant", [], ["made"], sparse_value=sparse)
    check(tmp_path, with_nodes([constant], "made"))


def test_what_is_made_of_a_sparse_constant_has_a_limit(tmp_path: Path) -> None:
    values = numpy_helper.from_array(ONE, "x")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(0)), [GIB])
    constant = helper.make_node("Constant", [], ["x"], sparse_value=sparse)
    initialized = with_nodes([node("Tile", "x", "by")], "made", {"by": ints(2)})
    initialized.graph.sparse_initializer.append(sparse)
    for model in (
        with_nodes([constant, node("Tile", "x", "by")], "made", {"by": ints(2)}),
        initialized,
    ):
        refuses(tmp_path, model, "'made' of Tile takes at least 2147483648 bytes")


def test_a_constant_of_one_float_counts_as_a_float(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["x"], value_float=1.0)
    for count in (GIB, GIB + 1):
        model = with_nodes([constant, node("Expand", "x", "by")], "made", {"by": ints(count)})
        if count == GIB:
            check(tmp_path, model)
        else:
            refuses(tmp_path, model, "takes at least 1073741828 bytes")


def test_a_constant_that_declares_more_than_it_stores_is_refused(tmp_path: Path) -> None:
    for shape in ([2**33], [2**33] * 3, [-1]):
        model = with_nodes([], "made")
        model.graph.initializer.append(
            TensorProto(name="made", dims=shape, data_type=TensorProto.FLOAT, raw_data=bytes(4))
        )
        refuses(tmp_path, model, "declares|has the shape")


def test_operators_whose_code_is_elsewhere_are_refused(tmp_path: Path) -> None:
    custom = helper.make_node("Surprise", ["scale"], ["made"], domain="com.example")
    refuses(tmp_path, with_nodes([custom], "made"), "custom operator com.example:Surprise")
    compiled = helper.make_node("EPContext", ["scale"], ["made"], domain="com.microsoft")
    refuses(tmp_path, with_nodes([compiled], "made"), "EPContext, a program that was compiled")
    known = helper.make_node("Gelu", ["scale"], ["made"], domain="com.microsoft")
    check(tmp_path, with_nodes([known], "made"))


def test_a_custom_operator_does_not_hide_in_a_branch_or_a_function(tmp_path: Path) -> None:
    custom = helper.make_node("Surprise", [], ["made"], domain="com.example")
    value = helper.make_tensor_value_info("made", TensorProto.FLOAT, None)
    body = helper.make_graph([custom], "branch", [], [value])
    choice = helper.make_node("If", ["truth"], ["chosen"], then_branch=body, else_branch=body)
    refuses(tmp_path, with_nodes([choice], "chosen", {"truth": np.ones((), np.bool_)}), "Surprise")
    model = nested_functions(1, 1)
    model.functions[0].node.append(custom)
    refuses(tmp_path, model, "Surprise")


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../../other/1/model.onnx", "x", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_in_any_other_file_are_refused(tmp_path: Path, place: str) -> None:
    model = with_nodes([], "made")
    tensor = TensorProto(name="made", dims=[1], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    model.graph.initializer.append(tensor)
    refuses(tmp_path, model, "lies in another file.*its certificate names none")
    beside = tmp_path / "model.onnx.data"
    refuses(tmp_path, model, "only model.onnx.data is read", data=beside)
    model.graph.initializer[-1].external_data[0].value = beside.name
    check(tmp_path, model, data=beside)


def test_graphs_may_be_nested_so_deep(tmp_path: Path) -> None:
    check(tmp_path, nested_conditions(MOST_DEPTH - 1))
    refuses(tmp_path, nested_conditions(MOST_DEPTH), "nested more than 16 deep")


def test_functions_count_as_often_as_they_are_called(tmp_path: Path) -> None:
    check(tmp_path, nested_functions(5, 10))
    refuses(tmp_path, nested_functions(6, 10), f"more than {MOST_NODES} nodes with its functions")
    refuses(tmp_path, nested_functions(10, 10), f"more than {MOST_NODES} nodes with its functions")
    refuses(tmp_path, calling_itself(), "f0 calls itself")
    check(tmp_path, nested_functions(12, 1))
    refuses(tmp_path, nested_functions(20, 1), "deep")


def test_the_two_names_of_onnx_own_domain_are_one(tmp_path: Path) -> None:
    model = nested_functions(7, 10)
    for function in model.functions:
        function.domain = "ai.onnx"
        for node in function.node:
            node.domain = ""
    call = next(one for one in model.graph.node if one.domain == "local")
    call.domain = ""
    refuses(tmp_path, model, "more than 1000000 nodes")


def test_an_attribute_has_one_value(tmp_path: Path) -> None:
    made = node("RandomNormal", shape=[GIB + 1])
    made.attribute.add(name="shape", ints=[1], type=onnx.AttributeProto.INTS)
    refuses(tmp_path, with_nodes([made], "made"), "two attributes 'shape'")


def field(number: int, payload: bytes) -> bytes:
    return helper_varint(number << 3 | 2) + helper_varint(len(payload)) + payload


def helper_varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def test_a_file_of_nothing_but_fields_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, field(7, field(1, b"") * 1_000_001), "more than 1000000 fields")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        field(7, b"\x0a\xff\xff\xff\xff\x0f"),
        field(7, b"\xff" * 20),
        field(7, b"\x0b\x0c"),
        field(7, b"") * 2,
        b"\x38\x01",
        field(7, b"\x08\x01"),
        field(7, field(1, field(4, b"x" * 70_000))),
        field(7, field(5, b"\x08\x01" * 65)),
    ],
    ids=["nothing", "text", "long", "endless", "group", "two", "number", "node", "name", "sides"],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, body: bytes) -> None:
    refuses(tmp_path, body, ".")


def test_an_attribute_has_one_graph(tmp_path: Path) -> None:
    """A parser merges two into a third one, which nothing here has checked."""
    model = nested_conditions(1)
    choice = next(one for one in model.graph.node if one.op_type == "If")
    attribute = choice.attribute[0]
    twice = attribute.SerializeToString() + field(6, attribute.g.SerializeToString())
    del choice.attribute[0]
    raw = field(
        7, model.graph.SerializeToString() + field(1, choice.SerializeToString() + field(5, twice))
    )
    refuses(tmp_path, raw, "has two values")


def test_bytes_changed_anywhere_never_raise_anything_else(tmp_path: Path) -> None:
    body = bytearray(color_model().SerializeToString())
    random = np.random.default_rng(7)
    for _ in range(300):
        changed = bytearray(body)
        for place in random.integers(0, len(body), 3):
            changed[place] = random.integers(0, 256)
        try:
            check(tmp_path, bytes(changed))
        except ServableError as error:
            assert str(error).startswith(str(tmp_path))


def test_a_name_with_a_packed_float_is_read(tmp_path: Path) -> None:
    scales = helper.make_tensor(
        "a", TensorProto.FLOAT, [2], struct.pack("<2f", 2**15, 2**15), raw=True
    )
    model = with_nodes([node("Upsample", "x", "a")], "made", {"x": ONE})
    model.graph.initializer.append(scales)
    refuses(tmp_path, model, "takes at least")
