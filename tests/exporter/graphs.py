"""Small ONNX graphs, made without PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.graph import with_outputs
from exporter.sessions import optimized_session, unoptimized_session

SIDE = 16


def image_graph(*nodes: onnx.NodeProto, **constants: NDArray[Any]) -> onnx.ModelProto:
    """Return a graph from `image`, uint8 (N, 16, 16, 3), to `logits`; `pixels` are its channels, float32."""
    preprocessing = [
        helper.make_node("Transpose", ["image"], ["planes"], "foveal/planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], "foveal/pixels", to=TensorProto.FLOAT),
    ]
    entry = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    return _model(entry, [*preprocessing, *nodes], ["logits"], constants)


def pixel_graph(
    *nodes: onnx.NodeProto, outputs: Sequence[str] = ("raw",), **constants: NDArray[Any]
) -> onnx.ModelProto:
    """Return a graph from `pixels`, float32 (N, 3, 16, 16), to these outputs."""
    entry = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    return _model(entry, nodes, outputs, constants)


def small_classifier() -> onnx.ModelProto:
    """Return a graph of two convolutions, pooling and a linear layer over four classes, from `pixels` to `raw`."""
    return pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["raw"]),
        w0=normal(8, 3, 3, 3),
        w1=normal(16, 8, 3, 3),
        w2=normal(16, 4),
    )


def normal(*shape: int) -> NDArray[np.float32]:
    """Return normally distributed values, the same for each number of axes."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def logits_of(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of an image graph for frames."""
    found: NDArray[np.float32] = optimized_session(model).run(["logits"], {"image": frames})[0]
    return found


def raw_values(model: onnx.ModelProto, pixels: NDArray[np.float32], *names: str) -> list[Any]:
    """Return tensors of a graph that reads `pixels`, run as it is."""
    session = unoptimized_session(with_outputs(model, names))
    return list(session.run(list(names), {"pixels": pixels}))


def _model(
    entry: onnx.ValueInfoProto,
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    for index, node in enumerate(nodes):
        node.name = node.name or f"node_{index}"
    graph = helper.make_graph(
        nodes,
        "small",
        [entry],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
