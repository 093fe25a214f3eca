"""How much memory a run of a network takes for its tensors, from the shapes in its graph; nothing is run."""

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, shape_inference

_READ_BYTES = 4096
"""Larger constants are weights. What shapes are made of is smaller."""


def run_bytes(model: ModelProto) -> int:
    """Return the bytes of the tensors that a run of one image holds at once, at most; its weights are not counted.

    What an operator needs for itself, and what an allocator can not use between its blocks, comes on top. Dimensions
    that no shape inference finds count as 1, so that it is a lower bound where a graph computes its shapes.
    """
    graph = _shaped(model).graph
    sizes = {value.name: _size_of(value) for value in (*graph.value_info, *graph.output)}
    outputs = {value.name for value in graph.output}
    last_read = {name: index for index, node in enumerate(graph.node) for name in node.input}
    held = most = 0
    for index, node in enumerate(graph.node):
        held += sum(sizes.get(name, 0) for name in node.output)
        most = max(most, held)
        ended = {name for name in node.input if last_read[name] == index} - outputs
        held -= sum(sizes.get(name, 0) for name in ended)
    return most


def _shaped(model: ModelProto) -> ModelProto:
    """Return the model for one image without its weights, with the shapes that can be inferred."""
    graph = GraphProto()
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.output.extend(_of_one_image(model.graph.output))
    weights = {tensor.name for tensor in model.graph.initializer}
    graph.input.extend(
        _of_one_image(value for value in model.graph.input if value.name not in weights)
    )
    for tensor in model.graph.initializer:
        if _is_small(tensor):
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    light = helper.make_model(
        graph,
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
        functions=model.functions,
    )
    try:
        return shape_inference.infer_shapes(light, data_prop=True)
    except shape_inference.InferenceError:
        return light


def _is_small(tensor: TensorProto) -> bool:
    is_inside = tensor.data_location != TensorProto.EXTERNAL
    return is_inside and tensor.ByteSize() <= _READ_BYTES


def _of_one_image(values: Iterable[ValueInfoProto]) -> list[ValueInfoProto]:
    """Return the inputs or outputs of a graph with 1 for the length of a batch, which is their first dimension."""
    found = []
    for value in values:
        one = ValueInfoProto()
        one.CopyFrom(value)
        dims = one.type.tensor_type.shape.dim
        if dims and dims[0].dim_param:
            dims[0].dim_value = 1
        found.append(one)
    return found


def _size_of(value: ValueInfoProto) -> int:
    kind = value.type.tensor_type
    if not kind.elem_type:
        return 0
    item = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
    count = 1
    for dim in kind.shape.dim:
        count *= dim.dim_value or 1
    return count * item
