"""Multiplications and additions by constants after a convolution → the convolution's own weights and bias.

What a runtime folds in floating point must be folded before it is quantized: between a convolution
and its batch norm values have no common scale.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from exporter.graph import consumers

_Floats = NDArray[np.float32]


def fold_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with `Conv → BatchNormalization | Mul | Add` made one `Conv` each.

    It is done where the constant is one value a channel and nothing else reads what lies between.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers = consumers(graph.node)
    seen = {v.name for v in (*graph.output, *graph.value_info)}
    fresh: dict[str, _Floats] = {}
    gone: set[str] = set()
    for conv in graph.node:
        if conv.op_type != "Conv" or not {*conv.input[1:]} <= constants.keys():
            continue
        weight = constants[conv.input[1]]
        bias = constants[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight), "f4")
        changed = False
        while len(readers[conv.output[0]]) == 1 and conv.output[0] not in seen:
            after = readers[conv.output[0]][0]
            line = _line(after, conv.output[0], constants, len(weight))
            if line is None:
                break
            gain, offset = line
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


def _line(
    node: onnx.NodeProto, read: str, constants: dict[str, _Floats], channels: int
) -> tuple[_Floats, _Floats] | None:
    """Return gain and offset a channel where the node is no more than that."""
    others = [name for name in node.input if name != read]
    if not others or not {*others} <= constants.keys() or len(node.output) != 1:
        return None
    if node.op_type == "BatchNormalization":
        scale, shift, mean, variance = (constants[name] for name in others)
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        gain = scale / np.sqrt(variance + np.float32(epsilon))
        return gain, shift - mean * gain
    value = constants[others[0]]
    if node.op_type not in {"Mul", "Add"} or not _a_channel(value, channels):
        return None
    vector = np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float32)
    if node.op_type == "Mul":
        return vector, np.zeros(channels, np.float32)
    return np.ones(channels, np.float32), vector


def _a_channel(value: _Floats, channels: int) -> bool:
    """Tell whether a constant spreads over the second of four axes, or over all alike."""
    return value.size == 1 or (value.shape[-3:] == (channels, 1, 1) and value.size == channels)


def _rebuilt(model: onnx.ModelProto, gone: set[str], fresh: dict[str, _Floats]) -> onnx.ModelProto:
    nodes = [node for node in model.graph.node if node.name not in gone]
    kept = onnx.GraphProto()
    kept.node.extend(nodes)
    del model.graph.node[:]
    model.graph.node.extend(kept.node)
    read = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in read]
    initializers += [numpy_helper.from_array(v.astype(np.float32), n) for n, v in fresh.items()]
    own = onnx.GraphProto()
    own.initializer.extend(initializers)
    del model.graph.initializer[:]
    model.graph.initializer.extend(own.initializer)
    return model
