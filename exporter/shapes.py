"""The shape and type of every tensor in a graph, for a batch of a given size."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from exporter.errors import GraphError


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
    def is_float(self) -> bool:
        return self.dtype in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def infer_shapes(model: onnx.ModelProto, batch: int = 1) -> dict[str, Shape]:
    """Return the shape of every tensor whose shape can be inferred when the batch has this size.

    Raises:
        GraphError: the graph contradicts itself.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(f"The graph's shapes contradict each other: {error}") from error
    shapes = {t.name: Shape(tuple(t.dims), t.data_type) for t in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = Shape(
                tuple(dim.dim_value for dim in tensor.shape.dim), tensor.elem_type
            )
    return shapes
