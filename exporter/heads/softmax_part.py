"""Whether scores are what is left of a softmax over their classes after some of these were cut off in the graph."""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from exporter.errors import GraphError
from exporter.graph import Graph, attribute
from exporter.heads.raw_tensor import Dims
from exporter.shapes import infer_shapes

_CUTS = {"Slice", "Split", "GatherElements"}
_SAME_AXES = {
    *("Identity", "Cast", "Clip", "Dropout", "Resize", "Upsample", "Relu"),
    *(
        "QuantizeLinear",
        "DequantizeLinear",
        "AveragePool",
        "MaxPool",
        "GlobalAveragePool",
        "GlobalMaxPool",
    ),
}
_RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_FOLLOWED = _CUTS | _SAME_AXES | _RESHAPES | {"Transpose", "Gather"}


def is_part_of_softmax(graph: Graph, tensor: str, axis: int = 1) -> bool | None:
    """Return whether a tensor's classes are some of those of a softmax.

    Two probabilities for each of several labels, of which the graph keeps one, are no such part: that softmax is over
    another axis. None where the axis of the softmax can not be followed.

    Args:
        graph: computes the tensor.
        tensor: its name.
        axis: that of the classes.
    """
    path = _path(graph, tensor)
    if path is None or not any(node.op_type in _CUTS | {"Gather"} for _, node in path):
        return False
    found = _over_classes(graph, path, axis)
    return None if found is None else found == (True, True)


def is_quantized_softmax(graph: Graph, tensor: str, axis: int = 1) -> bool:
    """Return whether a tensor is a whole softmax over its classes that is rounded to integers behind it.

    Its values need not sum to one: of a thousand classes, most are rounded to 0.
    """
    path = _path(graph, tensor)
    if path is None or not any(node.op_type == "DequantizeLinear" for _, node in path):
        return False
    return _over_classes(graph, path, axis) == (True, False)


def is_softmax_over(graph: Graph, tensor: str, axis: int) -> bool:
    """Return whether a tensor comes from a softmax over one of its axes, as far as this can be followed."""
    path = _path(graph, tensor)
    found = _over_classes(graph, path, axis) if path is not None else None
    return found is not None and found[0]


def _over_classes(
    graph: Graph, path: Sequence[tuple[str, NodeProto]], axis: int
) -> tuple[bool, bool] | None:
    """Return whether the softmax at a path's end is over the classes, and whether some of these are cut off.

    None where it can not be followed.
    """
    try:
        shapes = {name: shape.dims for name, shape in infer_shapes(graph.current()).items()}
    except GraphError:
        return None
    is_cut = False
    for name, node in path:
        before, after = shapes.get(node.input[0]), shapes.get(name)
        if before is None or after is None or axis >= len(after):
            return None
        if node.op_type == "Softmax":
            over = attribute(node, "axis", -1)
            return isinstance(over, int) and over % len(before) == axis, is_cut
        moved = _axis_before(node, axis, before, after, shapes)
        if moved is None:
            return None
        is_cut = is_cut or (node.op_type not in _RESHAPES and after[axis] < before[moved])
        axis = moved
    return None


def _path(graph: Graph, tensor: str) -> list[tuple[str, NodeProto]] | None:
    """Return each tensor and its node, back to a softmax, None where there is none."""
    producers = graph.producers()
    path: list[tuple[str, NodeProto]] = []
    while (node := producers.get(tensor)) is not None:
        path.append((tensor, node))
        if node.op_type == "Softmax":
            return path
        if node.op_type not in _FOLLOWED:
            return None
        tensor = node.input[0]
    return None


def _axis_before(
    node: NodeProto, axis: int, before: Dims, after: Dims, shapes: Mapping[str, Dims]
) -> int | None:
    """Return which axis of a node's input became this one, None where it is none or is not known."""
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None)
        return order[axis] if isinstance(order, list) else len(before) - 1 - axis
    if node.op_type in _RESHAPES:
        same = (
            index
            for index, size in enumerate(before)
            if size == after[axis] and np.prod(before[:index]) == np.prod(after[:axis])
        )
        return next(same, None)
    if node.op_type == "Gather" and len(before) != len(after):
        at = attribute(node, "axis", 0)
        if not isinstance(at, int) or shapes.get(node.input[1]) != ():
            return None
        return axis + (axis >= at % len(before))
    return axis if len(before) == len(after) else None
