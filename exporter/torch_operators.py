"""Operators of PyTorch in ONNX that PyTorch's own exporter does not know."""

from typing import Any

from onnx import TensorProto
from onnxscript import opset18


def all_true(values: Any) -> Any:  # noqa: ANN401 - a tensor of the graph under construction
    """Return whether all values of a boolean tensor are true, as a tensor without axes."""
    numbers = opset18.Cast(values, to=TensorProto.INT64)
    return opset18.Cast(opset18.ReduceMin(numbers, keepdims=0), to=TensorProto.BOOL)
