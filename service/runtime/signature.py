"""What a network takes and gives: the names, types and shapes of its tensors, as its graph states them."""

import numpy as np

from service.value import value

DTYPES = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
}
"""NumPy's dtype of each of ONNX Runtime's types that both have."""


@value
class TensorInfo:
    """An input or output of a graph; a dynamic axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@value
class Signature:
    """The inputs and outputs of a graph, each in the graph's order; their first axis is the batch."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
