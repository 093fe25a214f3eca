"""Operators of PyTorch in ONNX that PyTorch's own exporter does not know."""

from typing import Any

from onnx import TensorProto
from onnxscript import opset18

_onnx: Any = opset18  # its types are those of arrays, not those of a graph under construction


def all_true(values: Any) -> Any:  # noqa: ANN401 - a tensor of the graph under construction
    """Return whether all values of a boolean tensor are true, as a tensor without axes."""
    numbers = _onnx.Cast(values, to=TensorProto.INT64)
    return _onnx.Cast(_onnx.ReduceMin(numbers, keepdims=0), to=TensorProto.BOOL)
