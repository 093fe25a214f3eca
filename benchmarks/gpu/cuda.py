"""A few calls of the CUDA runtime, through its shared library: what memory is, and how much of the GPU's is used.

Source: https://docs.nvidia.com/cuda/cuda-runtime-api, modules "Unified Addressing" and "Memory Management".
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

_ROOM = 256
"""cudaPointerAttributes has 24 bytes before CUDA 13 and more since; its first number is the type."""
_KINDS: dict[int, "MemoryKind"] = {0: "ordinary", 1: "locked", 2: "device", 3: "managed"}
"""cudaMemoryType."""

MemoryKind = Literal["ordinary", "locked", "device", "managed", "unknown"]


def load_library(names: Sequence[str]) -> ctypes.CDLL | None:
    """Return the first of these libraries that can be loaded."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@dataclass(frozen=True, slots=True)
class CudaMemory:
    """What the CUDA runtime says of memory.

    Args:
        runtime: its library, or anything with the same functions.
        index: of the GPU.
    """

    runtime: Any
    index: int = 0

    def kind_of(self, address: int) -> MemoryKind:
        """Return what kind of memory lies at an address: `locked` where the host's pages are registered."""
        self.runtime.cudaSetDevice(ctypes.c_int(self.index))
        attributes = ctypes.create_string_buffer(_ROOM)
        status = self.runtime.cudaPointerGetAttributes(attributes, ctypes.c_void_p(address))
        if status != 0:
            self.runtime.cudaGetLastError()  # else the next kernel's launch would report it
            return "unknown"
        return _KINDS.get(ctypes.c_int.from_buffer(attributes).value, "unknown")

    def used_bytes(self) -> int | None:
        """Return how much of the GPU's memory is in use, by all processes; None where it can not be read."""
        self.runtime.cudaSetDevice(ctypes.c_int(self.index))
        free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
        if self.runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) != 0:
            return None
        return total.value - free.value
