"""The cost of one image: parameters, multiply-accumulates and activation bytes, counted on the completed graph."""

from collections.abc import Callable

import onnx
from onnx import NodeProto, TensorProto

from exporter.graph import GRAFT_PREFIX, attribute
from exporter.shapes import Shape, infer_shapes
from service.card import Cost

Shapes = dict[str, Shape]

_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Constant", "Dropout"}
"""Operators that a runtime executes without computing or copying anything."""

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_QUANTIZED = {
    *(TensorProto.INT16, TensorProto.INT8, TensorProto.INT4),
    *(TensorProto.UINT16, TensorProto.UINT8, TensorProto.UINT4),
}


def count_cost(model: onnx.ModelProto) -> Cost:
    """Return the cost of one image."""
    shapes = infer_shapes(model)
    return Cost(
        parameters=count_parameters(model),
        macs=sum(count_macs(node, shapes) for node in model.graph.node),
        activation_bytes=sum(count_activation_bytes(node, shapes) for node in model.graph.node),
    )


def count_parameters(model: onnx.ModelProto) -> int:
    """Return the number of trained values: floats that the exporter did not add, and quantized weights."""
    return sum(
        Shape(tuple(tensor.dims), tensor.data_type).count
        for tensor in model.graph.initializer
        if _is_trained(tensor) and not tensor.name.startswith(GRAFT_PREFIX)
    )


def _is_trained(tensor: TensorProto) -> bool:
    # The zero points of a scale per channel have one axis.
    is_quantized = tensor.data_type in _QUANTIZED and len(tensor.dims) > 1
    return is_quantized or (tensor.data_type in _FLOATS and bool(tensor.dims))


def count_macs(node: NodeProto, shapes: Shapes) -> int:
    """Return the multiply-accumulates of a node; the matrix products of attention count too.

    Convolutions and matrix products count, as in the published tables (He et al., arXiv:1512.03385, Table 1);
    additions, activations, norms and pooling do not.
    """
    rule = _MACS.get(node.op_type)
    known = (
        node.output and node.output[0] in shapes and all(name in shapes for name in node.input[:2])
    )
    return rule(node, shapes) if rule and known else 0


def count_activation_bytes(node: NodeProto, shapes: Shapes) -> int:
    """Return the number of bytes that a node writes; views write none."""
    if node.op_type in _VIEWS:
        return 0
    return sum(shapes[name].bytes for name in node.output if name in shapes)


def _conv(node: NodeProto, shapes: Shapes, weight: int = 1) -> int:
    kernel = shapes[node.input[weight]]
    return shapes[node.output[0]].count * kernel.count // kernel.dims[0]


def _conv_transpose(node: NodeProto, shapes: Shapes) -> int:
    weight = shapes[node.input[1]]
    return shapes[node.input[0]].count * weight.count // weight.dims[0]


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    return shapes[node.output[0]].count * shapes[node.input[0]].dims[-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    inner_axis = 0 if attribute(node, "transA", 0) else 1
    return shapes[node.output[0]].count * shapes[node.input[0]].dims[inner_axis]


_MACS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "ConvInteger": _conv,
    "MatMulInteger": _matmul,
    "QLinearConv": lambda node, shapes: _conv(node, shapes, weight=3),
    "QLinearMatMul": _matmul,
}
