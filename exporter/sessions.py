"""ONNX Runtime sessions on the CPU: as it would be served, and node by node as it is written."""

from pathlib import Path

import onnx
import onnxruntime

CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


def optimized(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session as the service would make it."""
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU])


def served(path: Path) -> onnxruntime.InferenceSession:
    """Return a session of a servable, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=[CPU])


def unoptimized(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session that runs the graph node by node, exactly as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
