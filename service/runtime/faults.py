"""What the errors of ONNX Runtime mean: they have no types, only words."""

import re
from collections.abc import Callable

_OUT_OF_MEMORY = re.compile(
    r"failed to allocate memory|out of memory|bad[ _]alloc|memory of \d+ is smaller than requested|"
    r"STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
_DEVICE_LOST = re.compile(
    r"CUDA failure (?:46|214|220|700|702|709|710|71[4-9]|999)\b|illegal memory access|illegal instruction|"
    r"unspecified launch failure|uncorrectable ECC error",
    re.IGNORECASE,
)
"""Errors after which CUDA answers every call of the process with the same error. Source:
https://docs.nvidia.com/cuda/cuda-runtime-api, "Data types used by CUDA Runtime", cudaError."""
_SOURCE = re.compile(
    r"\S*/\S+\.(?:cc|cpp|cu|cuh|h|hpp)(?::\d+)?(?: [\w:~<>*&]+(?:\([^)]*\))?)?:? ?"
)
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")


IsLost = Callable[[BaseException], bool]
"""Returns whether the process can not use its GPU any more, after a run that failed with this error; blocking."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a run failed because there was not enough memory, on the CPU or on a GPU."""
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def never_lost(_: BaseException) -> bool:
    """Return what holds where there is no GPU."""
    return False


def tells_of_lost_device(error: BaseException) -> bool:
    """Return whether an error says that the process can not use its GPU any more: nothing but another process can.

    The words may be those of a model, whose author names its nodes as they like.
    """
    return bool(_DEVICE_LOST.search(str(error)))


def reason_of(error: BaseException) -> str:
    """Return an error's message in one line, without the source files of the library that raised it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = _SOURCE.sub("", _PREFIX.sub("", str(error)))
    return " ".join(text.split()) or type(error).__name__
