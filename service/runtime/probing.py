"""Which devices work here: each is tried with a small convolution, and one that does not work says what to install."""

import contextlib
import ctypes
import io
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from onnx import TensorProto, helper

from service.errors import DeviceError
from service.runtime.device import (
    DEVICES,
    NVIDIA_PROVIDERS,
    PREFERENCE,
    Device,
    DeviceName,
    plan_session,
)
from service.runtime.faults import is_out_of_memory, tells_of_lost_device
from service.runtime.session import (
    RUNTIME_VERSION,
    available_providers,
    connect,
    openvino_device,
    preload_gpu_libraries,
    silence,
)

_GPU_REMEDY = (
    "Check that `nvidia-smi` lists the GPU, that its driver is new enough for the CUDA of this ONNX Runtime, and that "
    "the CUDA and cuDNN libraries are installed: in a clone, `make cuda` does it."
)
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
DeviceCheck = Callable[[Device, BaseException], bool]
"""Returns whether the process can not use a device any more, after a run that failed; blocking."""
_ROOM_OF_NAME = 256
_TENSORRT = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"


def find_device(wanted: str, index: int = 0) -> Device:
    """Return the device to use: the one named, or for `auto` the first in order of preference that works.

    Raises:
        DeviceError: the named device does not work; the message says why and what to do.
    """
    silence()
    if wanted != "auto":
        return try_device(next(name for name in DEVICES if name == wanted), index)
    for name in PREFERENCE:
        with contextlib.suppress(DeviceError):
            return try_device(name, index)
    raise DeviceError("No device works, not even the CPU. Run `foveal doctor` for the reasons.")


def try_device(name: DeviceName, index: int = 0) -> Device:
    """Run a small convolution on the device and return it.

    Raises:
        DeviceError: it does not work here; the message says why and what to do.
    """
    match name:
        case "cpu":
            device = Device(name, 0, f"{platform.machine()} CPU")
        case "openvino":
            detail = openvino_device().ep_metadata.get("FULL_DEVICE_NAME", "CPU")
            device = Device(name, 0, detail)
        case "cuda" | "tensorrt":
            _require_nvidia_libraries(name)
            gpu = describe_gpu(index)
            device = Device(name, index, gpu.name, gpu.memory_bytes)
        case untried:
            assert_never(untried)
    _run_probe(device)
    return device


def _run_probe(device: Device) -> None:
    """Run a convolution: a missing cuDNN is noticed by nothing earlier."""
    plan = plan_session(device, largest=1, threads=1, cache=Path())
    plan = replace(plan, entries={}, plugin_options={})
    try:
        # ONNX Runtime prints to standard output that it falls back; here that is an error.
        with contextlib.redirect_stdout(io.StringIO()):
            session = connect(_probe_graph(), device, plan)
        found = session.get_providers()[0]
        if plan.providers and found != plan.providers[0][0]:
            raise DeviceError(
                f"{device.name} is not usable: ONNX Runtime fell back to {found}. {_GPU_REMEDY}"
            )
        session.run(None, {"x": np.ones((1, 1, 8, 8), np.float32)})
    except DeviceError:
        raise
    except Exception as error:  # ONNX Runtime raises untyped errors
        raise DeviceError(
            f"{device.name} failed on a small convolution: {error}. {_GPU_REMEDY}"
        ) from error


def is_lost(
    device: Device, error: BaseException, probe: Callable[[Device], None] = _run_probe
) -> bool:
    """Return whether the process can not use its GPU any more, after a run that failed with an error; blocking.

    The words of the error are no proof, see `tells_of_lost_device`: they are only the reason to try the GPU with a
    network of our own.

    Args:
        device: where the run was.
        error: of the run.
        probe: runs a network on the device.
    """
    if not (device.is_gpu and tells_of_lost_device(error)):
        return False
    try:
        probe(device)
    except DeviceError as failure:
        return not is_out_of_memory(failure)  # others need this process and its GPU then
    return False


def _require_nvidia_libraries(name: DeviceName) -> None:
    """Name what is missing, before ONNX Runtime falls back to the CPU without an error."""
    if NVIDIA_PROVIDERS[name] not in available_providers():
        raise DeviceError(
            f"{name} is not in this build of ONNX Runtime {RUNTIME_VERSION}. On Linux and Windows on x86-64 install "
            "onnxruntime-gpu and not onnxruntime: both use one folder, and the last one installed wins."
        )
    if not _can_load(_DRIVER):
        raise DeviceError(
            f"{name} needs an NVIDIA driver, and {_DRIVER} is not here. Install the driver, or in a container start "
            "it with its GPU (docker run --gpus all, or the gpu profile of docker-compose.yml)."
        )
    missing = preload_gpu_libraries()
    if missing:
        raise DeviceError(f"{name} needs libraries that are not here: {missing[0]}. {_GPU_REMEDY}")
    if name == "tensorrt" and not _can_load(_TENSORRT):
        raise DeviceError(
            f"tensorrt needs {_TENSORRT}, which is not here: pip install 'tensorrt>=10,<11', or use FOVEAL_DEVICE=cuda."
        )


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver says of a GPU: its name, such as `NVIDIA H200`, and its memory, 0 where it does not say."""

    name: str
    memory_bytes: int = 0


def describe_gpu(index: int, load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """Ask the driver about a GPU; without an answer its name is `GPU 0`.

    Source: https://docs.nvidia.com/cuda/cuda-driver-api, module "Device Management".
    """
    unknown = Gpu(f"GPU {index}")
    try:
        driver = load(_DRIVER)
    except OSError:
        return unknown
    number, name = ctypes.c_int(), ctypes.create_string_buffer(_ROOM_OF_NAME)
    memory = ctypes.c_size_t()
    answered = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(number), ctypes.c_int(index)) == 0
        and driver.cuDeviceGetName(name, ctypes.c_int(_ROOM_OF_NAME), number) == 0
        and driver.cuDeviceTotalMem_v2(ctypes.byref(memory), number) == 0
    )
    return Gpu(name.value.decode(errors="replace").strip(), memory.value) if answered else unknown


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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
