"""The names of tensor types in the Open Inference Protocol, and NumPy's and ONNX Runtime's for the same."""

import numpy as np

from service.runtime.signature import DTYPES, TensorInfo

BYTES = "BYTES"
_NAMES = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.float16): "FP16",
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
}


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """Return the protocol's name of one of NumPy's types: `UINT8`, `FP32`."""
    return _NAMES.get(dtype) or dtype.name.upper()


def dtype_of(tensor: TensorInfo) -> np.dtype[np.generic] | None:
    """Return NumPy's type of a tensor of a graph, None where it has none."""
    return DTYPES.get(tensor.dtype)
