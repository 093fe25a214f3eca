"""Tiny ONNX graphs for tests: nodes as tuples, run by ONNX Runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Node = tuple[str, list[str], str, dict[str, Any]]
"""Operator, names of the inputs, name of the output, attributes."""


def graph_of(
    nodes: Sequence[Node],
    output: str,
    constants: Mapping[str, ArrayLike],
    *,
    image: Sequence[int | str],
    name: str = "image",
    opset: int = 18,
) -> onnx.ModelProto:
    """Return a model with one float32 input, called `name`, of shape `image`."""
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, [made], **options)
            for kind, inputs, made, options in nodes
        ],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, image)],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model: onnx.ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the model's first output."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, {model.graph.input[0].name: image})[0]
    return output
