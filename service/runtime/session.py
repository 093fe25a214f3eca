"""The one place that knows ONNX Runtime: which devices work, and sessions that run batches on them."""

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import io
import logging
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.errors import DeviceError, ServableError
from service.logs import LOGGER
from service.runtime.device import (
    CUDA_PROVIDER,
    DEVICES,
    HEAVY_OPERATORS,
    PREFERENCE,
    TENSORRT_PROVIDER,
    Device,
    DeviceName,
    SessionPlan,
    plan_session,
)

log = logging.getLogger(LOGGER)

RUNTIME_VERSION: str = ort.__version__
OPENVINO_PACKAGE = "onnxruntime_ep_openvino"
_SILENT = 4
"""ONNX Runtime's log severity `fatal`: what matters is raised, and told by us."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a graph; a dynamic axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session:
    """A network on its device: ONNX Runtime's session `onnxruntime`, opened by `plan`.

    `run` is safe from any number of threads at once and releases the GIL.
    """

    def __init__(self, session: ort.InferenceSession, plan: SessionPlan) -> None:
        self.onnxruntime = session
        self.plan = plan
        self.inputs = tuple(_describe(node) for node in session.get_inputs())
        self.outputs = tuple(_describe(node) for node in session.get_outputs())
        self._names = [output.name for output in self.outputs]

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a batch (N, …) and return every output (N, …) by name."""
        rows = self.onnxruntime.run(self._names, {self.inputs[0].name: batch})
        return dict(zip(self._names, rows, strict=True))


def open_session(
    path: Path, device: Device, plan: SessionPlan, *, graph: bytes | None = None
) -> Session:
    """Load a network onto a device and make sure that it really lies there.

    Args:
        path: the servable.
        device: where it shall lie.
        plan: how.
        graph: a serialized model made from the file, to load in its place.

    Raises:
        ServableError: ONNX Runtime can not load the file.
        DeviceError: heavy nodes fell back to another device.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.intra_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.enable_mem_pattern = plan.memory_pattern
    _share_arena()
    source = str(path) if graph is None else graph
    for key, value in plan.entries.items():
        options.add_session_config_entry(key, value)
    try:
        if device.name == "openvino":
            options.add_provider_for_devices([_openvino_device()], plan.plugin_options)
            session = ort.InferenceSession(source, options)
        else:
            session = ort.InferenceSession(source, options, providers=list(plan.providers))
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise ServableError(f"{path} can not be loaded on {device.name}: {error}") from error
    allowed = plan.allowed_providers or {_register_openvino()}
    _refuse_fallback(placement(session), allowed, device, path.name)
    return Session(session, plan)


@functools.cache
def _share_arena() -> None:
    """Let all sessions that ask for it (`use_env_allocators`) draw on one arena, which grows by what is needed.

    With an arena a session, four models here took 1.8 GB after two concurrent runs each; with this, 0.65 GB.
    """
    arena, default, same_as_requested = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, -1, 1
    ort.create_and_register_allocator(
        ort.OrtMemoryInfo("Cpu", arena, 0, ort.OrtMemType.DEFAULT),
        ort.OrtArenaCfg(
            {
                "max_mem": 0,
                "arena_extend_strategy": same_as_requested,
                "initial_chunk_size_bytes": default,
                "max_dead_bytes_per_chunk": default,
            }
        ),
    )


def placement(session: ort.InferenceSession) -> dict[str, dict[str, int]]:
    """Return how many nodes of each operator landed on each provider: {provider: {operator: count}}."""
    found: dict[str, dict[str, int]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = found.setdefault(part.ep_name, {})
        for node in part.get_nodes():
            operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return found


def _refuse_fallback(
    placed: Mapping[str, Mapping[str, int]],
    allowed: frozenset[str] | set[str],
    device: Device,
    name: str,
) -> None:
    strayed = {
        f"{count} {operator} on {provider}"
        for provider, operators in placed.items()
        if provider not in allowed
        for operator, count in operators.items()
        if operator in HEAVY_OPERATORS
    }
    if strayed:
        raise DeviceError(
            f"{name}: parts of the network do not run on {device.name}: {', '.join(sorted(strayed))}. "
            "Choose another FOVEAL_DEVICE, or export the network with operators that it has."
        )


def find_device(wanted: str, index: int = 0) -> Device:
    """Return the device to use: for `auto` the first in order of preference that works, else the one named.

    Raises:
        DeviceError: the device asked for by name does not work; the message says why and how to mend it.
    """
    ort.set_default_logger_severity(_SILENT)
    if wanted != "auto":
        return try_device(next(name for name in DEVICES if name == wanted), index)
    for name in PREFERENCE:
        with contextlib.suppress(DeviceError):
            return try_device(name, index)
    raise DeviceError("No device works, not even the CPU; `foveal doctor` says more.")


def try_device(name: DeviceName, index: int = 0) -> Device:
    """Run a small convolution on the device and return it.

    Raises:
        DeviceError: it does not work here; the message says why and how to mend it.
    """
    if name == "cpu":
        device = Device("cpu", 0, f"{platform.machine()} CPU")
    elif name == "openvino":
        openvino = _openvino_device()
        device = Device("openvino", 0, openvino.ep_metadata.get("FULL_DEVICE_NAME", "CPU"))
    else:
        device = Device(name, index, f"GPU {index}")
        _require_gpu_libraries(name)
    _run_probe(device)
    return device


def _run_probe(device: Device) -> None:
    """A missing cuDNN shows at the first run of a convolution only, so one is run."""
    plan = plan_session(device, largest=1, threads=1, cache=Path())
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    try:
        if device.name == "openvino":
            options.add_provider_for_devices([_openvino_device()], {})
            session = ort.InferenceSession(_probe_graph(), options)
        else:
            # ONNX Runtime prints its fallback to standard output; here it is refused instead.
            with contextlib.redirect_stdout(io.StringIO()):
                session = ort.InferenceSession(
                    _probe_graph(), options, providers=list(plan.providers)
                )
            found = session.get_providers()[0]
            if found != plan.providers[0][0]:
                raise DeviceError(
                    f"{device.name} is not usable: ONNX Runtime fell back to {found}. {_GPU_MEND}"
                )
        session.run(None, {"x": np.ones((1, 1, 8, 8), np.float32)})
    except DeviceError:
        raise
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise DeviceError(
            f"{device.name} failed on a small convolution: {error}. {_GPU_MEND}"
        ) from error


_GPU_MEND = (
    "Check that `nvidia-smi` lists the GPU, that its driver is new enough for the CUDA of this ONNX Runtime, and that "
    "the CUDA and cuDNN libraries are installed: pip install 'foveal[cuda]'."
)
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_TENSORRT = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"


def _require_gpu_libraries(name: DeviceName) -> None:
    """Find out what is missing by its name before ONNX Runtime falls back in silence."""
    provider = CUDA_PROVIDER if name == "cuda" else TENSORRT_PROVIDER
    if provider not in ort.get_available_providers():
        raise DeviceError(
            f"{name} is not in this build of ONNX Runtime {RUNTIME_VERSION}. On Linux and Windows on x86-64 install "
            "onnxruntime-gpu and not onnxruntime: both use one folder, and the last one installed wins."
        )
    if not _loads(_DRIVER):
        raise DeviceError(
            f"{name} needs an NVIDIA driver, and {_DRIVER} is not here. Install the driver, or in a container start "
            "it with its GPU (docker run --gpus all, or the gpu profile of docker-compose.yml)."
        )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls(cuda=True, cudnn=True, directory="")
    missing = [line for line in said.getvalue().splitlines() if "Failed to load" in line]
    if missing:
        raise DeviceError(
            f"{name} needs libraries that are not here: {missing[0].strip()}. {_GPU_MEND}"
        )
    if name == "tensorrt" and not _loads(_TENSORRT):
        raise DeviceError(
            f"tensorrt needs {_TENSORRT}, which is not here: pip install 'tensorrt>=10,<11', or use FOVEAL_DEVICE=cuda."
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _openvino_device() -> Any:  # noqa: ANN401  # ONNX Runtime ships no types
    if importlib.util.find_spec(OPENVINO_PACKAGE) is None:
        raise DeviceError(
            "openvino is not installed. On Linux and Windows on x86-64: pip install onnxruntime-ep-openvino."
        )
    provider = _register_openvino()
    for candidate in ort.get_ep_devices():
        if candidate.ep_name == provider and candidate.ep_metadata.get("ov_device") == "CPU":
            return candidate
    raise DeviceError(
        "openvino offers no CPU device on this processor: its plug-in serves Intel's. Use FOVEAL_DEVICE=cpu."
    )


@functools.cache
def _register_openvino() -> str:
    """Register the plug-in, which a process may do once, and return its provider's name."""
    plugin = importlib.import_module(OPENVINO_PACKAGE)
    try:
        ort.register_execution_provider_library("foveal_openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise DeviceError(f"openvino's plug-in can not be loaded: {error}") from error
    name: str = plugin.get_ep_name()
    return name


def _probe_graph() -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 6, 6])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized


def _describe(node: Any) -> TensorInfo:  # noqa: ANN401  # ONNX Runtime ships no types
    shape = tuple(axis if isinstance(axis, int) else None for axis in node.shape)
    return TensorInfo(node.name, node.type, shape)
