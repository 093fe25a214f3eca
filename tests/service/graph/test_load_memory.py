"""What the loading of a file takes at least, from tiny graphs; test_out_of_memory.py holds it against the kernel."""

import platform
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.errors import ServableError
from service.graph.load_memory import CERTAIN_SHARE, least_load_bytes, require_room

MATRIX = 64 * 64 * 4
LAYS_OUT = platform.machine().lower() in {"x86_64", "amd64"}


def file_of(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, tuple[int, ...]],
    *,
    beside: bool,
) -> Path:
    """Write a graph whose constants are zeros of float32."""
    path = folder / "model.onnx"
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    constants = [
        numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in weights.items()
    ]
    model = helper.make_model(helper.make_graph(nodes, "net", given, outputs, constants))
    onnx.save(
        model, path, save_as_external_data=beside, location="model.onnx.data", size_threshold=0
    )
    return path


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [output], **attributes)


PRODUCTS = [node("MatMul", "x", "a", output="h"), node("MatMul", "h", "b")]
MATRICES = {"a": (64, 64), "b": (64, 64)}


def least(path: Path, *, on_cpu: bool = True) -> int:
    """Return what would be counted if all of it counted."""
    return round(least_load_bytes(path, on_cpu=on_cpu) / CERTAIN_SHARE)


def test_constants_in_the_file_are_held_with_a_copy_of_the_largest(tmp_path: Path) -> None:
    path = file_of(tmp_path, PRODUCTS, {"a": (64, 64), "b": (64, 32)}, beside=False)
    assert least(path) == pytest.approx(2.5 * MATRIX, abs=2)


def test_of_another_device_only_the_parser_is_known(tmp_path: Path) -> None:
    path = file_of(tmp_path, PRODUCTS, MATRICES, beside=False)
    assert least(path, on_cpu=False) == pytest.approx(2 * MATRIX, abs=2)


def test_of_weights_beside_the_file_only_matrices_that_are_packed_are_held(tmp_path: Path) -> None:
    products = file_of(tmp_path, PRODUCTS, MATRICES, beside=True)
    assert least(products) == pytest.approx(2 * MATRIX, abs=2)
    table = file_of(tmp_path, [node("Add", "x", "a")], {"a": (64, 64)}, beside=True)
    assert least(table) == 0


MADE = 1 << 20
"""Bytes of what is made in the tests below."""


def made_by(folder: Path, *nodes: onnx.NodeProto, given: tuple[str, ...] = ("x",)) -> float:
    """Return how much is counted for these nodes, in units of `MADE`; they may read a shape and a vector."""
    path = folder / "model.onnx"
    constants = [
        numpy_helper.from_array(np.array([MADE // 4], np.int64), "shape"),
        numpy_helper.from_array(np.zeros(8, np.float32), "vector"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in given]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "net", inputs, outputs, constants)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return round(least(path) / MADE, 2)


def filled(output: str, value: float = 0) -> onnx.NodeProto:
    constant = numpy_helper.from_array(np.array([value], np.float32))
    return node("ConstantOfShape", "shape", output=output, value=constant)


def test_what_is_made_of_constants_is_held_and_copied_for_what_is_made_of_it(
    tmp_path: Path,
) -> None:
    assert made_by(tmp_path, filled("a"), node("Add", "x", "a")) == 1
    assert made_by(tmp_path, filled("a"), node("ReduceMin", "a")) == 2
    twice = node("Concat", "a", "a", output="b", axis=0)
    assert made_by(tmp_path, filled("a"), twice, node("ReduceMin", "b")) == 5
    wider = node("Cast", "a", output="b", to=TensorProto.DOUBLE)
    assert made_by(tmp_path, filled("a"), wider, node("Add", "x", "b")) == 4


def test_what_may_become_one_or_nothing_new_counts_once(tmp_path: Path) -> None:
    end = node("Sum", "x", "a", "b")
    assert made_by(tmp_path, filled("a"), filled("b"), end) == 1
    assert made_by(tmp_path, filled("a"), filled("b", 7), end) == 2
    for same in (node("Identity", "a", output="b"), node("Cast", "a", output="b", to=1)):
        assert made_by(tmp_path, filled("a"), same, node("Add", "x", "b")) == 1


def test_what_depends_on_the_image_or_is_made_by_chance_is_not_made_at_the_load(
    tmp_path: Path,
) -> None:
    end = node("Add", "x", "a")
    assert made_by(tmp_path, node("RandomUniform", output="a", shape=[MADE]), end) == 0
    assert made_by(tmp_path, node("Expand", "x", "shape", output="a"), end) == 0
    later = node("Concat", "x", "a", output="b", axis=0)
    assert made_by(tmp_path, filled("a"), later, node("ReduceMin", "b")) == 1
    assert made_by(tmp_path, filled("a"), end, given=("x", "shape")) == 0, "it is only a default"


@pytest.mark.parametrize("operator", ["Gather", "Unsqueeze", "Tile"])
def test_shapes_that_grow_with_each_node_are_followed_no_further(
    tmp_path: Path, operator: str
) -> None:
    """Else thousands of nodes have shapes of any length, or sides of any number of digits."""
    nodes = [
        node(operator, f"v{at}", f"v{at}" if operator == "Gather" else "side", output=f"v{at + 1}")
        for at in range(5_000)
    ]
    path = tmp_path / "model.onnx"
    side = np.array([1, 2**62] if operator == "Tile" else [0], np.int64)
    constants = [
        numpy_helper.from_array(np.zeros((0, 3), np.float32), "v0"),
        numpy_helper.from_array(side, "side"),
    ]
    outputs = [helper.make_tensor_value_info(f"v{len(nodes)}", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "net", [], outputs, constants)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    tracemalloc.start()
    least(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50 << 20


def test_what_is_made_in_branches_is_made_before_one_is_chosen(tmp_path: Path) -> None:
    def branch(value: float) -> onnx.GraphProto:
        outputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)]
        return helper.make_graph([filled("a", value)], "branch", [], outputs)

    chosen = node("If", "x", then_branch=branch(1), else_branch=branch(2))
    assert made_by(tmp_path, chosen) == 2


@pytest.mark.skipif(not LAYS_OUT, reason="only on x86-64 are convolutions known to be laid out")
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("shape", "groups", "copies"),
    [
        ((64, 32, 3, 3), 1, 4),
        ((63, 32, 3, 3), 1, 0),
        ((64, 30, 3, 3), 1, 0),
        ((64, 1, 3, 3), 64, 0),
    ],
)
def test_weights_of_convolutions_over_aligned_channels_are_laid_out_anew(
    tmp_path: Path, shape: tuple[int, ...], groups: int, copies: int, *, beside: bool
) -> None:
    path = file_of(tmp_path, [node("Conv", "x", "w", group=groups)], {"w": shape}, beside=beside)
    size = 4 * int(np.prod(shape))
    in_the_file = 0 if beside else 1
    assert least(path) == pytest.approx(size * (in_the_file + max(copies, in_the_file)), abs=2)


@pytest.mark.skipif(not LAYS_OUT, reason="only on x86-64 are convolutions known to be laid out")
@pytest.mark.parametrize(
    ("channels", "times"),
    [((64, 64, 64), 3 + 3), ((64, 48, 48), 2.5 + 3 * 0.75), ((64, 64, 4), 1 + 3)],
)
def test_convolutions_are_laid_out_one_after_the_other(
    tmp_path: Path, channels: tuple[int, ...], times: float
) -> None:
    names = "abc"
    nodes = [
        node("Conv", "x" if not at else names[at - 1] * 2, name, output=name * 2)
        for at, name in enumerate(names)
    ]
    weights = {name: (64, number, 3, 3) for name, number in zip(names, channels, strict=True)}
    path = file_of(tmp_path, nodes, weights, beside=True)
    assert least(path) == pytest.approx(times * 64 * 64 * 9 * 4, abs=2)


def test_what_does_not_fit_is_refused_with_what_it_takes_and_what_there_is(tmp_path: Path) -> None:
    path = file_of(tmp_path, PRODUCTS, {"a": (1024, 1024), "b": (8, 8)}, beside=False)
    require_room(path, left=9 << 20, limit=700 << 20, on_cpu=True)
    with pytest.raises(
        ServableError, match=r"takes at least 7 MiB of memory, and 6 of 700 MiB are left\. Give"
    ):
        require_room(path, left=6 << 20, limit=700 << 20, on_cpu=True)


def test_a_file_that_is_no_network_or_is_gone_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ServableError, match=r"model\.onnx can not be read: No such file"):
        require_room(path, left=0, limit=1, on_cpu=True)
    path.write_bytes(b"no network")
    with pytest.raises(ServableError, match=r"model\.onnx: the file"):
        require_room(path, left=0, limit=1, on_cpu=True)
