"""A quantized network whose weights have eight bits → the same network with weights of seven bits.

For processors whose products of bytes overflow with eight (`service.runtime.saturation`). Each weight is halved and its
scale doubled, so that the outputs change by the rounding only.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

WIDTHS: dict[int, tuple[type, int]] = {
    TensorProto.INT8: (np.int8, 64),
    TensorProto.INT32: (np.int32, 2**31 - 1),
}
"""The types of quantized weights and biases, and the largest integer of each afterwards.

A bias is halved too, since its scale is that of the weights times that of the layer's input."""


def with_seven_bits(path: Path) -> bytes:
    """Return the serialized model of a file, in which every constant that is dequantized from INT8 has seven bits.

    Args:
        path: a model with its weights inside, quantized as QDQ with scales that are constants.
    """
    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    narrowed: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        weights, scale = constants[node.input[0]], constants[node.input[1]]
        if weights.data_type not in WIDTHS:
            continue
        for tensor in (weights, scale):
            if tensor.name not in narrowed:
                narrowed.add(tensor.name)
                tensor.CopyFrom(_doubled(tensor) if tensor is scale else _halved(tensor))
    serialized: bytes = model.SerializeToString()
    return serialized


def _halved(tensor: TensorProto) -> TensorProto:
    kind, largest = WIDTHS[tensor.data_type]
    halves = np.rint(numpy_helper.to_array(tensor) / 2)
    return numpy_helper.from_array(np.clip(halves, -largest, largest).astype(kind), tensor.name)


def _doubled(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name)
