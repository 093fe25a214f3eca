"""A graph made for one image → the same graph for any number of them."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from exporter.graph import BATCH, copy_of
from exporter.shapes import Shape, infer_shapes


def free_batch(model: onnx.ModelProto, image: Sequence[int]) -> onnx.ModelProto:
    """Return the model with a free batch axis in front of an image of these dimensions.

    Reshapes to a constant shape whose first axis is a batch of one get a free first axis. The proof shows whether that
    was right: it compares several batch sizes with the source.
    """
    freed = copy_of(model)
    constants = {tensor.name for tensor in freed.graph.initializer}
    for value in freed.graph.input:
        if value.name not in constants:
            dims = value.type.tensor_type.shape.dim
            dims[0].Clear()
            dims[0].dim_param = BATCH
            for dim, size in zip(list(dims)[1:], image, strict=True):
                dim.Clear()
                dim.dim_value = size
    shapes = infer_shapes(freed)
    _free_reshapes(freed, shapes)
    for value in freed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del freed.graph.value_info[:]
    return freed


def _free_reshapes(model: onnx.ModelProto, shapes: dict[str, Shape]) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[0] not in values:
            _free_reshape(model, node, shapes, values.get(node.input[1]))


def _free_reshape(
    model: onnx.ModelProto,
    node: NodeProto,
    shapes: dict[str, Shape],
    target: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
) -> None:
    """Free the first axis of the target shape, if the reshape keeps a batch of one as the first axis."""
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    if target is None or before is None or after is None or target[0] != 1:
        return
    if not before.dims or before.dims[0] != 1:
        return
    free_first = np.array([-1, *after.dims[1:]], np.int64)
    name = f"{node.output[0]}_shape"
    model.graph.initializer.append(numpy_helper.from_array(free_first, name))
    node.input[1] = name
