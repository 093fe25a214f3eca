"""The shape and type of every tensor in a graph, for a batch of a given size."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from exporter.errors import GraphError
from exporter.graph import with_outputs
from exporter.sessions import unoptimized_session

MOST_OF_A_SHAPE = 64
"""Constants of at most this many values may be shapes, and their values are kept for the inference."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor's dimensions and ONNX element type."""

    dims: tuple[int, ...]
    dtype: int

    @property
    def count(self) -> int:
        return int(np.prod(self.dims, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return self.count * int(helper.tensor_dtype_to_np_dtype(self.dtype).itemsize)

    @property
    def is_integer(self) -> bool:
        return self.dtype in {TensorProto.INT64, TensorProto.INT32}

    @property
    def is_float(self) -> bool:
        return self.dtype in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def infer_shapes(model: onnx.ModelProto, batch: int = 1) -> dict[str, Shape]:
    """Return the shape of every tensor for a batch of this size.

    Shapes that can not be inferred, because the graph computes the target of a reshape, are taken from a run.

    Raises:
        GraphError: shapes in the graph contradict each other, or it does not run.
    """
    light = _without_weights(model, batch)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(f"The graph's shapes contradict each other: {error}") from error
    shapes = {t.name: Shape(tuple(t.dims), t.data_type) for t in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            dims = tuple(dim.dim_value for dim in tensor.shape.dim)
            shapes[value.name] = Shape(dims, tensor.elem_type)
    made = {name for node in model.graph.node for name in node.output if name}
    return shapes | _measured(model, batch, sorted(made - shapes.keys()))


def _without_weights(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return the graph with a fixed batch, and with inputs in place of its weights, whose values are not needed.

    Small constants stay, since they may be shapes.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    constants = {tensor.name for tensor in model.graph.initializer}
    light.graph.input.extend(v for v in model.graph.input if v.name not in constants)
    for value in light.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) <= MOST_OF_A_SHAPE:
            light.graph.initializer.append(tensor)
        else:
            dims = list(tensor.dims)
            declared = helper.make_tensor_value_info(tensor.name, tensor.data_type, dims)
            light.graph.input.append(declared)
    return light


def _measured(model: onnx.ModelProto, batch: int, names: list[str]) -> dict[str, Shape]:
    """Run the graph once on zeros and return the shapes of these tensors."""
    if not names:
        return {}
    fixed = with_outputs(model, names)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in fixed.graph.input:
        if value.name not in constants:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    del fixed.graph.value_info[:]
    try:
        session = unoptimized_session(fixed)
        entry = session.get_inputs()[0]
        dtype = np.uint8 if entry.type == "tensor(uint8)" else np.float32
        values = session.run(names, {entry.name: np.zeros(entry.shape, dtype)})
    except Exception as error:  # ONNX Runtime raises classes of its own for every status, unrelated
        raise GraphError(f"The graph does not run: {error}") from error
    return {
        name: Shape(value.shape, helper.np_dtype_to_tensor_dtype(value.dtype))
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray)  # else a sequence, which has no shape
    }
