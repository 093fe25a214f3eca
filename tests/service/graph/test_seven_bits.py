"""Weights of seven bits are made of those of eight."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.graph.seven_bits import with_seven_bits

WEIGHTS = np.array([[127, -127, 3, -100], [64, -1, 0, 126]], np.int8)
SCALE, BIAS_SCALE = np.float32(0.01), np.float32(0.005)


def quantized(path: Path) -> Path:
    """Write a layer of two outputs over four inputs: weights in INT8, its bias in INT32, its input in UINT8."""
    constants: dict[str, NDArray[Any]] = {
        "w": WEIGHTS,
        "ws": np.array(SCALE),
        "wz": np.array(0, np.int8),
        "b": np.array([1000, -501], np.int32),
        "bs": np.array(BIAS_SCALE),
        "xs": np.array(0.5, np.float32),
        "xz": np.array(0, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"]),
        helper.make_node("Gemm", ["xd", "wd", "bd"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, path)
    return path


def test_each_weight_is_halved_and_its_scale_doubled_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    found = onnx.load_from_string(with_seven_bits(quantized(tmp_path / "layer.onnx")))
    values = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    # Halves go to the even neighbor: 127 / 2 to 64, 3 / 2 to 2, -1 / 2 to 0.
    np.testing.assert_array_equal(values["w"], [[64, -64, 2, -50], [32, 0, 0, 63]])
    assert values["w"].dtype == np.int8
    np.testing.assert_array_equal(values["b"], [500, -250])
    assert float(values["ws"]) == float(2 * SCALE)
    assert float(values["bs"]) == float(2 * BIAS_SCALE)
    assert values["xs"] == np.float32(0.5)


def test_the_outputs_change_by_the_rounding_only(tmp_path: Path) -> None:
    path = quantized(tmp_path / "layer.onnx")
    x = np.array([[1, 2, 3, 100], [50, 0, 7, 4]], np.float32)
    before, after = (
        onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for one in (str(path), with_seven_bits(path))
    )
    allowed = x.sum(axis=1, keepdims=True) * SCALE + BIAS_SCALE + 1e-5
    assert (np.abs(after - before) <= allowed).all()
    assert (after != before).any()
