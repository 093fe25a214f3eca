"""Multiplications with constants and additions of constants after a convolution → the convolution's weights and bias.

A runtime does this folding in floating point, so it must be done before quantization: the values between a convolution
and its batch norm have very different ranges in each channel.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from exporter.graph import attribute, consumers, copy_of, replace_constants, replace_nodes

_Floats = NDArray[np.float32]


def fold_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every `Conv → BatchNormalization | Mul | Add` folded into one `Conv`.

    A node is folded if its constant has one value per channel and no other node reads the tensor between.
    """
    folded = copy_of(model)
    graph = folded.graph
    constants = {
        t.name: numpy_helper.to_array(t)
        for t in graph.initializer
        if t.data_type == TensorProto.FLOAT  # a layer in float16 would become one in float32
    }
    readers = consumers(graph.node)
    visible = {v.name for v in (*graph.output, *graph.value_info)}
    fresh: dict[str, _Floats] = {}
    gone: set[str] = set()
    for conv in graph.node:
        if conv.op_type != "Conv" or not {*conv.input[1:]} <= constants.keys():
            continue
        weight = constants[conv.input[1]]
        bias = constants[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight), "f4")
        changed = False
        while len(readers[conv.output[0]]) == 1 and conv.output[0] not in visible:
            after = readers[conv.output[0]][0]
            gain_and_offset = _gain_and_offset(after, conv.output[0], constants, len(weight))
            if gain_and_offset is None:
                break
            gain, offset = gain_and_offset
            weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * gain + offset
            conv.output[0] = after.output[0]
            gone.add(after.name)
            changed = True
        if changed:
            names = [f"{conv.output[0]}_weight", f"{conv.output[0]}_bias"]
            fresh.update(zip(names, (weight, bias), strict=True))
            del conv.input[1:]
            conv.input.extend(names)
    return _rebuilt(folded, gone, fresh)


def _gain_and_offset(
    node: onnx.NodeProto, read: str, constants: dict[str, _Floats], channels: int
) -> tuple[_Floats, _Floats] | None:
    """Return the gain and the offset of each channel, None where the node computes something else."""
    others = [name for name in node.input if name != read]
    if not others or not {*others} <= constants.keys() or len(node.output) != 1:
        return None
    if node.op_type == "BatchNormalization":
        scale, shift, mean, variance = (constants[name] for name in others)
        epsilon = np.float32(str(attribute(node, "epsilon", 1e-5)))
        gain = scale / np.sqrt(variance + epsilon)
        return gain, shift - mean * gain
    value = constants[others[0]]
    if node.op_type not in {"Mul", "Add"} or not _is_per_channel(value, channels):
        return None
    vector = np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float32)
    if node.op_type == "Mul":
        return vector, np.zeros(channels, np.float32)
    return np.ones(channels, np.float32), vector


def _is_per_channel(value: _Floats, channels: int) -> bool:
    """Return whether a constant has one value, or one for each index of the second of four axes."""
    return value.size == 1 or (value.shape[-3:] == (channels, 1, 1) and value.size == channels)


def _rebuilt(model: onnx.ModelProto, gone: set[str], fresh: dict[str, _Floats]) -> onnx.ModelProto:
    replace_nodes(model.graph, (node for node in model.graph.node if node.name not in gone))
    read = {name for node in model.graph.node for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in read]
    initializers += [numpy_helper.from_array(v.astype(np.float32), n) for n, v in fresh.items()]
    replace_constants(model.graph, initializers)
    return model
