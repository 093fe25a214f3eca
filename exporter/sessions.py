"""ONNX Runtime sessions on the CPU: optimized as in the service, and node by node without optimizations."""

from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import onnx
import onnxruntime

from exporter.errors import WriteError
from exporter.external_data import is_large, save_split
from exporter.threads import half

IN_MEMORY = 2**28
"""A model with more bytes of weights reaches ONNX Runtime through files, from which it maps the weights.

To pass them in one message would hold them twice more, and Python's lock for seconds."""

CPU = "CPUExecutionProvider"
_PAD_FUSION = "Pad_Fusion"
_FATAL_ONLY = 4
"""An error is raised, and says the same as the lines that ONNX Runtime would write."""


def optimized_session(
    model: onnx.ModelProto, limit: int = IN_MEMORY, *, keeps_pads: bool = False
) -> onnxruntime.InferenceSession:
    """Return a session with all of ONNX Runtime's optimizations, as the service makes it.

    With `keeps_pads` a Pad stays a Pad, as in a servable's graph (see `zero_pads`).
    """
    return _session(model, onnxruntime.SessionOptions(), limit, keeps_pads=keeps_pads)


def alternating_session(
    model: onnx.ModelProto,
    limit: int = IN_MEMORY,
    *,
    optimized: bool = True,
    keeps_pads: bool = False,
) -> onnxruntime.InferenceSession:
    """Return a session on half of the cores, for runs beside those of another framework on the other half.

    Its threads sleep between two runs. Spinning takes the cores from the other framework: without it, for ResNet-50
    beside PyTorch on two busy cores, a pair of runs takes two thirds of the processor time.
    """
    options = onnxruntime.SessionOptions() if optimized else _unoptimized()
    options.intra_op_num_threads = half()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _session(model, options, limit, keeps_pads=keeps_pads)


def served_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session of a servable's file, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=[CPU])


def unoptimized_session(
    model: onnx.ModelProto, limit: int = IN_MEMORY
) -> onnxruntime.InferenceSession:
    """Return a session that runs the graph node by node, exactly as the file describes it."""
    return _session(model, _unoptimized(), limit)


def _unoptimized() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    return options


def _session(
    model: onnx.ModelProto,
    options: onnxruntime.SessionOptions,
    limit: int = IN_MEMORY,
    *,
    keeps_pads: bool = False,
) -> onnxruntime.InferenceSession:
    """Return a session; a model with more bytes of weights than `limit` is read from a folder that exists for that.

    Raises:
        WriteError: there is no space for that, and the model is too large for one message.
    """
    left_out = [_PAD_FUSION] if keeps_pads else []
    if is_large(model, limit):
        try:
            return _session_of_files(model, options, left_out)
        except OSError as error:
            if is_large(model):
                raise WriteError(
                    f"There is no space for the weights in {gettempdir()}: {error.strerror}. Make room, or set TMPDIR "
                    "to another folder"
                ) from error
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=[CPU], disabled_optimizers=left_out
    )


def _session_of_files(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions, left_out: list[str]
) -> onnxruntime.InferenceSession:
    if is_large(model):  # weights in another order would be in memory once more
        options.add_session_config_entry("session.disable_prepacking", "1")
    with TemporaryDirectory(prefix="foveal-export-") as folder:
        path = save_split(model, Path(folder))
        return onnxruntime.InferenceSession(
            path, options, providers=[CPU], disabled_optimizers=left_out
        )
