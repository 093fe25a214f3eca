"""A graph made for a batch of one size → the same graph for any number of images."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from exporter.counted_tensors import counted_tensors
from exporter.graph import BATCH, copy_of
from exporter.shapes import Shape, infer_shapes


def free_batch(model: onnx.ModelProto, *, windows: bool = False) -> onnx.ModelProto:
    """Return the model with a free batch axis.

    Reshapes to a constant shape whose first axis is the batch get a free first axis. With `windows` so do those whose
    first axis is a multiple of the batch before or after the reshape, as in networks that attend within windows. One
    that leaves an axis to the number of detections stays: that number is another one for each image.
    Whether that was right is seen in a run only: the proof compares several batch sizes with the source.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    entry = next(value for value in model.graph.input if value.name not in constants)
    batch = entry.type.tensor_type.shape.dim[0].dim_value or 1
    shapes = infer_shapes(model, batch)
    freed = copy_of(model)
    for value in freed.graph.input:
        if value.name == entry.name:
            first = value.type.tensor_type.shape.dim[0]
            first.Clear()
            first.dim_param = BATCH
    targets = _constant_targets(freed)
    counted = counted_tensors(freed)
    for node in freed.graph.node:
        if node.op_type != "Reshape" or node.input[0] in targets:
            continue
        target = targets.get(node.input[1])
        if target is not None and not (node.input[0] in counted and -1 in target):
            _free_reshape(freed, node, shapes, target, batch, windows=windows)
    for value in freed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del freed.graph.value_info[:]
    return freed


def _constant_targets(model: onnx.ModelProto) -> dict[str, NDArray[np.int64]]:
    values = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if len(tensor.dims) == 1
    }
    for node in model.graph.node:
        if node.op_type != "Constant":
            continue
        held = node.attribute[0]
        if held.name == "value_ints":
            values[node.output[0]] = np.array(held.ints, np.int64)
        elif held.name == "value" and held.t.data_type == TensorProto.INT64:
            values[node.output[0]] = numpy_helper.to_array(held.t)
    return values


def _free_reshape(
    model: onnx.ModelProto,
    node: NodeProto,
    shapes: Mapping[str, Shape],
    target: NDArray[np.int64],
    batch: int,
    *,
    windows: bool,
) -> None:
    """Free the first axis of the target shape, if the reshape keeps the batch as the first axis."""
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    if before is None or after is None or not before.dims or not after.dims:
        return
    if target[0] == 0 or -1 in target[:1]:
        return
    keeps = before.dims[0] == after.dims[0] == batch
    splits = before.dims[0] % batch == 0 and after.dims[0] % batch == 0
    if not keeps and not (windows and splits):
        return
    free_first = np.array([-1, *after.dims[1:]], np.int64)
    name = f"{node.output[0]}_shape"
    model.graph.initializer.append(numpy_helper.from_array(free_first, name))
    node.input[1] = name
