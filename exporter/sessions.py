"""ONNX Runtime sessions on the CPU: optimized as in the service, and node by node without optimizations."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime

from exporter.external_data import is_large, save_split

CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


def optimized_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session with all of ONNX Runtime's optimizations, as the service makes it."""
    return _session(model, onnxruntime.SessionOptions())


def served_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session of a servable's file, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=[CPU])


def unoptimized_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session that runs the graph node by node, exactly as the file describes it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return _session(model, options)


def _session(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    """Return a session; a model above protobuf's limit is read from a folder that exists for as long as that takes."""
    if not is_large(model):
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    with TemporaryDirectory(prefix="foveal-export-") as folder:
        path = save_split(model, Path(folder))
        return onnxruntime.InferenceSession(path, options, providers=[CPU])
