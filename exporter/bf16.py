"""A graph in fp32 → its weights in bf16, and what a processor computes of them: products of bf16, sums of float32."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.graph import GRAFT_PREFIX, copy_of, is_grafted, replace_nodes

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_SUFFIX = ".bf16"


def to_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the weights of its layers in bf16, half as large; what is computed of them is float32.

    On a processor with bf16 a runtime may multiply in it. `as_computed` shows what comes out then.
    """
    reduced = copy_of(model)
    graph = reduced.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    casts: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if node.op_type not in WEIGHTED or is_grafted(node):
            continue
        name = node.input[1]
        if name in constants and constants[name].data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(constants[name])
            constants[name].CopyFrom(_in_bf16(values, name + _SUFFIX))
            casts[name] = _cast(name + _SUFFIX, name, TensorProto.FLOAT)
    replace_nodes(graph, [*casts.values(), *graph.node])
    return reduced


def as_computed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of `to_bf16` with what each layer reads and writes rounded to bf16 too."""
    rounded = copy_of(model)
    nodes: list[onnx.NodeProto] = []
    for node in rounded.graph.node:
        if node.op_type not in WEIGHTED or is_grafted(node):
            nodes.append(node)
            continue
        source, target = node.input[0], node.output[0]
        inside, exact = f"{target}.in", f"{target}.exact"
        nodes += _rounding(source, inside)
        node.input[0], node.output[0] = inside, exact
        nodes += [node, *_rounding(exact, target)]
    replace_nodes(rounded.graph, nodes)
    return rounded


def _rounding(source: str, target: str) -> list[onnx.NodeProto]:
    short = target + _SUFFIX
    return [_cast(source, short, TensorProto.BFLOAT16), _cast(short, target, TensorProto.FLOAT)]


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"{GRAFT_PREFIX}{target}", to=kind)


def _in_bf16(values: NDArray[np.float32], name: str) -> TensorProto:
    """Return values rounded to the nearest bf16, of two equally near ones the even: the upper 16 bits of float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, upper.tobytes(), raw=True)
