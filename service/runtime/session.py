"""ONNX Runtime behind our own terms: sessions that run batches on a device. Only `io_binding` imports it too."""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.errors import DeviceError, ServableError
from service.runtime.device import (
    GRAPH_ID,
    HEAVY_OPERATORS,
    NO_GRAPH,
    Device,
    SessionPlan,
    plan_session,
)
from service.runtime.faults import reason_of
from service.runtime.signature import Signature, TensorInfo

RUNTIME_VERSION: str = ort.__version__
OPENVINO_PACKAGE = "onnxruntime_ep_openvino"
SHRINK_ARENA = ("memory.enable_memory_arena_shrinkage", "cpu:0")
"""The option of a run at whose end the arena gives back what is free. Source: onnxruntime_run_options_config_keys.h."""
_SILENT = 4
"""ONNX Runtime's log severity `fatal`: what matters is raised as an error, and we log it."""


class Session:
    """A network on its device.

    Attributes:
        onnxruntime: ONNX Runtime's own session.
        plan: how it was opened.
        inputs: of the graph, in order.
        outputs: of the graph, in order.
        signature: both.
    """

    def __init__(self, session: ort.InferenceSession, plan: SessionPlan) -> None:
        self.onnxruntime = session
        self.plan = plan
        self.inputs = tuple(_describe(node) for node in session.get_inputs())
        self.outputs = tuple(_describe(node) for node in session.get_outputs())
        self.signature = Signature(self.inputs, self.outputs)
        self._names = [output.name for output in self.outputs]
        self._input = self.inputs[0].name if self.inputs else ""
        self._options: dict[int, ort.RunOptions] = {}

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a batch (N, …) and return every output (N, …) by name.

        Any number of threads may call this at once. It releases the GIL.
        """
        thread = threading.get_ident()
        options = self._options.get(thread) or self._make_options(thread)
        rows = self.onnxruntime.run(self._names, {self._input: batch}, options)
        return dict(zip(self._names, rows, strict=True))

    def stop(self, thread: int) -> None:
        """Let the run of a thread end with an error, as soon as the node that it is in has ended.

        Args:
            thread: its `threading.get_ident`.
        """
        options = self._options.pop(thread, None)  # the thread's next run gets others
        if options is not None:
            options.terminate = True

    def _make_options(self, thread: int) -> ort.RunOptions:
        options = self._options[thread] = run_options()
        if self.plan.graphs:
            # Else ONNX Runtime captures the first runs as graph 0, and its replays return nothing.
            options.add_run_config_entry(GRAPH_ID, str(NO_GRAPH))
        if self.plan.returns_memory:
            options.add_run_config_entry(*SHRINK_ARENA)
        return options


def open_session(
    path: Path, device: Device, plan: SessionPlan, *, graph: bytes | None = None
) -> Session:
    """Load a network onto a device, and check that its heavy nodes run there.

    Args:
        path: the servable.
        device: where the network shall run.
        plan: how to open it.
        graph: a serialized model made from the file, to load instead of it.

    Raises:
        ServableError: ONNX Runtime can not load the file.
        DeviceError: heavy nodes fell back to another device.
    """
    _share_arena()
    try:
        session = connect(str(path) if graph is None else graph, device, plan)
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise ServableError(
            f"{path} can not be loaded on {device.name}: {reason_of(error)}"
        ) from error
    allowed = plan.allowed_providers or {_register_openvino()}
    _refuse_fallback(placement(session), allowed, device, path.name)
    return Session(session, plan)


def connect(source: str | bytes, device: Device, plan: SessionPlan) -> ort.InferenceSession:
    """Open ONNX Runtime's session as planned, without checking where the nodes run.

    Args:
        source: a path, or a serialized model.
        device: where it shall run.
        plan: how to open it.

    Raises:
        DeviceError: OpenVINO is not usable.
        Exception: ONNX Runtime's own errors, which have no common type.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.intra_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.enable_mem_pattern = plan.memory_pattern
    options.use_deterministic_compute = plan.deterministic
    for key, value in plan.entries.items():
        options.add_session_config_entry(key, value)
    if device.name == "openvino":
        options.add_provider_for_devices([openvino_device()], plan.plugin_options)
        return ort.InferenceSession(source, options)
    return ort.InferenceSession(source, options, providers=list(plan.providers))


@functools.cache
def _share_arena() -> None:
    """Make one arena for all sessions with `use_env_allocators`; it grows by no more than what is needed.

    With an arena for each session, four models took 1.8 GB after two concurrent runs each; with this one, 0.65 GB.
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


def shrink_arena() -> None:
    """Return the free memory of the shared arena to the system; blocking.

    The arena keeps what any run has ever needed, also when the network is gone: 2.2 GB after eight images through
    U²-Net-p. ONNX Runtime shrinks it only at the end of a run with that option, so a network that does nothing runs.
    """
    device = Device("cpu")
    plan = plan_session(device, largest=1, threads=1, cache=Path())
    session = open_session(Path("nothing"), device, plan, graph=_network_that_does_nothing())
    options = ort.RunOptions()
    options.add_run_config_entry(*SHRINK_ARENA)
    session.onnxruntime.run(None, {"x": np.zeros(1, np.float32)}, options)


def _network_that_does_nothing() -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized


def run_options() -> ort.RunOptions:
    """Return the options of a run, which prints nothing: what matters is raised as an error."""
    options = ort.RunOptions()
    options.log_severity_level = _SILENT
    return options


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
    misplaced = {
        f"{count} {operator} on {provider}"
        for provider, operators in placed.items()
        if provider not in allowed
        for operator, count in operators.items()
        if operator in HEAVY_OPERATORS
    }
    if misplaced:
        raise DeviceError(
            f"{name}: parts of the network do not run on {device.name}: {', '.join(sorted(misplaced))}. "
            "Choose another FOVEAL_DEVICE, or export the network with operators that it has."
        )


def silence() -> None:
    """Let ONNX Runtime print nothing: what matters is raised as an error."""
    ort.set_default_logger_severity(_SILENT)


def available_providers() -> list[str]:
    """Return the execution providers in this build of ONNX Runtime."""
    providers: list[str] = ort.get_available_providers()
    return providers


def preload_gpu_libraries() -> list[str]:
    """Load the CUDA and cuDNN libraries from their Python packages; return a line for each that is missing."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls(cuda=True, cudnn=True, directory="")
    lines = printed.getvalue().splitlines()
    return [line.strip() for line in lines if "Failed to load" in line]


def openvino_device() -> Any:  # noqa: ANN401  # ONNX Runtime ships no types
    """Return ONNX Runtime's description of the CPU as OpenVINO's plug-in offers it.

    Raises:
        DeviceError: the plug-in is not installed, does not load, or does not serve this processor.
    """
    if importlib.util.find_spec(OPENVINO_PACKAGE) is None:
        raise DeviceError(
            "openvino is not installed. On Linux and Windows on x86-64: pip install onnxruntime-ep-openvino."
        )
    provider = _register_openvino()
    for candidate in ort.get_ep_devices():
        if candidate.ep_name == provider and candidate.ep_metadata.get("ov_device") == "CPU":
            return candidate
    raise DeviceError(
        "openvino offers no CPU device on this processor: its plug-in serves Intel processors. Use FOVEAL_DEVICE=cpu."
    )


def openvino_version() -> str | None:
    """Return the version of OpenVINO's plug-in, None where it is not installed."""
    try:
        return importlib.metadata.version("onnxruntime-ep-openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _register_openvino() -> str:
    """Register the plug-in, which a process may do only once, and return the name of its provider."""
    plugin = importlib.import_module(OPENVINO_PACKAGE)
    try:
        ort.register_execution_provider_library("foveal_openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise DeviceError(f"openvino's plug-in can not be loaded: {error}") from error
    name: str = plugin.get_ep_name()
    return name


def _describe(node: Any) -> TensorInfo:  # noqa: ANN401  # ONNX Runtime ships no types
    shape = tuple(axis if isinstance(axis, int) else None for axis in node.shape)
    return TensorInfo(node.name, node.type, shape)
