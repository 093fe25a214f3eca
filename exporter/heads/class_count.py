"""How many classes a detector chooses from that names the class of each box: its graph shows it in most cases."""

from collections.abc import Mapping

import onnx
from onnx import NodeProto, numpy_helper

from exporter.graph import attribute
from exporter.shapes import Shape, infer_shapes

_PASSED_ON = {
    *(
        "Identity",
        "Cast",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Pad",
    ),
    *("Slice", "Gather", "GatherElements", "GatherND", "Split", "Clip", "Floor", "Round"),
}
"""Operators whose results are values of their first input."""


def class_count(model: onnx.ModelProto, tensor: str) -> int | None:
    """Return the number of classes from which the last column of a tensor is chosen, None where it can not be known.

    A class is the place of the best of several scores, or what remains of the place of a pair of box and class after a
    division by the number of classes.
    """
    shapes = infer_shapes(model)
    producers = {name: node for node in model.graph.node for name in node.output if name}
    seen: set[str] = set()
    while (node := producers.get(tensor)) is not None and tensor not in seen:
        seen.add(tensor)
        if node.op_type == "Concat":
            tensor = node.input[-1]
        elif node.op_type in _PASSED_ON:
            tensor = node.input[0]
        else:
            return _chosen_from(model, node, tensor, shapes, producers)
    return None


def _chosen_from(
    model: onnx.ModelProto,
    node: NodeProto,
    tensor: str,
    shapes: Mapping[str, Shape],
    producers: Mapping[str, NodeProto],
) -> int | None:
    if node.op_type == "ArgMax":
        return _size(shapes, node.input[0], int(str(attribute(node, "axis", 0))))
    if node.op_type == "TopK" and tensor == node.output[1]:
        single = shapes.get(tensor)
        axis = int(str(attribute(node, "axis", -1)))
        return _size(shapes, node.input[0], axis) if single and single.dims[axis] == 1 else None
    if node.op_type == "Mod":
        return _constant(model, node.input[1], producers)
    if node.op_type == "Sub":
        return _rest_of_division(model, node, producers)
    if node.op_type == "NonMaxSuppression":
        return _size(shapes, node.input[1], 1)
    return None


def _rest_of_division(
    model: onnx.ModelProto, node: NodeProto, producers: Mapping[str, NodeProto]
) -> int | None:
    """Return K of `place - place // K * K`, which some exporters write for a remainder."""
    product = producers.get(node.input[1])
    if product is None or product.op_type != "Mul":
        return None
    constants = (_constant(model, name, producers) for name in product.input)
    return next((value for value in constants if value), None)


def _size(shapes: Mapping[str, Shape], name: str, axis: int) -> int | None:
    shape = shapes.get(name)
    return shape.dims[axis] if shape else None


def _constant(model: onnx.ModelProto, name: str, producers: Mapping[str, NodeProto]) -> int | None:
    tensor = next((one for one in model.graph.initializer if one.name == name), None)
    node = producers.get(name)
    if tensor is None and node is not None and node.op_type == "Constant":
        tensor = next((one.t for one in node.attribute if one.name == "value"), None)
    if tensor is None:
        return None
    value = numpy_helper.to_array(tensor)
    return int(value.reshape(-1)[0]) if value.size == 1 else None
