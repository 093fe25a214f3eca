"""Which GPU, driver, CUDA, cuDNN and ONNX Runtime are here, and whether CUDA works."""

import ctypes
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks.gpu.card import describe_card
from benchmarks.gpu.cuda import load_library
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.machine import describe_machine
from service.errors import DeviceError
from service.runtime.host import granted_threads
from service.runtime.io_binding import find_cuda_runtime
from service.runtime.probing import try_device
from service.runtime.session import preload_gpu_libraries, silence

PACKAGES = (
    *("foveal", "onnxruntime-gpu", "onnxruntime", "onnx", "numpy", "pillow", "torch"),
    *("torchvision", "timm", "triton", "fastapi", "uvicorn", "uvloop", "httptools"),
    *("nvidia-cudnn-cu13", "nvidia-cuda-runtime"),
)
CUDNN = ("libcudnn.so.9",)
DRIVER_VERSION = Path("/proc/driver/nvidia/version")


def describe(order: Order, report: Report) -> None:
    """Report the machine, the versions, and whether a convolution runs on the GPU."""
    silence()
    machine = describe_machine()
    report(
        {
            "machine": {
                "processor": machine.processor,
                "cores": granted_threads(),
                "memory_gib": machine.memory_gib,
                "system": machine.system,
                "python": sys.version.split()[0],
            },
            "packages": versions(PACKAGES),
            "onnxruntime": {
                "version": ort.__version__,
                "built_for_cuda": getattr(ort, "cuda_version", ""),
                "providers": ort.get_available_providers(),
                "build": ort.get_build_info(),
            },
        }
    )
    missing = preload_gpu_libraries()
    report({"libraries": {"missing": missing, **library_versions()}, "card": describe_card()})
    works, reason = _try_cuda()
    report({"cuda": {"works": works, "reason": reason}})
    if order.device != "cpu":
        seen = works or None  # without a GPU nothing is wrong
        report(verdict("a convolution runs on the GPU", holds=seen, because=reason or "it ran"))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def library_versions() -> dict[str, Any]:
    """Return the versions that the CUDA and cuDNN libraries and the driver state of themselves."""
    found: dict[str, Any] = {}
    runtime = find_cuda_runtime()
    if runtime is not None:
        found["cuda_runtime"] = _integer(runtime, "cudaRuntimeGetVersion")
        found["cuda_of_driver"] = _integer(runtime, "cudaDriverGetVersion")
    cudnn = load_library(CUDNN)
    if cudnn is not None:
        cudnn.cudnnGetVersion.restype = ctypes.c_size_t
        found["cudnn"] = int(cudnn.cudnnGetVersion())
    if DRIVER_VERSION.exists():
        found["driver"] = DRIVER_VERSION.read_text().splitlines()[0]
    return found


def _integer(library: ctypes.CDLL, function: str) -> int | None:
    value = ctypes.c_int(0)
    status = getattr(library, function)(ctypes.byref(value))
    return value.value if status == 0 else None


def _try_cuda() -> tuple[bool, str]:
    try:
        try_device("cuda")
    except DeviceError as error:
        return False, str(error)
    return True, ""
