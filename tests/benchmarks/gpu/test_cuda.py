"""What the CUDA runtime says of memory, with a runtime of the test in place of the library."""

import ctypes
from typing import Any

import pytest

from benchmarks.gpu.cuda import CudaMemory, MemoryKind

LOCKED, ORDINARY, ON_DEVICE, FOREIGN = 4096, 8192, 12288, 16384


class Runtime:
    """Answers as CUDA's runtime does; `types` are `cudaMemoryType` by address."""

    def __init__(self, types: dict[int, int], *, broken: bool = False) -> None:
        self.types = types
        self.broken = broken
        self.last_error = 0
        self.devices: list[int] = []

    def cudaSetDevice(self, index: ctypes.c_int) -> int:  # noqa: N802
        self.devices.append(index.value)
        return 0

    def cudaPointerGetAttributes(self, attributes: Any, address: ctypes.c_void_p) -> int:  # noqa: N802
        assert ctypes.sizeof(attributes) >= 24 + 8 * 8, "CUDA 13 writes eight more words"
        if address.value not in self.types:
            self.last_error = 1  # cudaErrorInvalidValue
            return 1
        ctypes.c_int.from_buffer(attributes).value = self.types[address.value]
        return 0

    def cudaGetLastError(self) -> int:  # noqa: N802
        found, self.last_error = self.last_error, 0
        return found

    def cudaMemGetInfo(self, free: Any, total: Any) -> int:  # noqa: N802
        if self.broken:
            return 100
        ctypes.cast(free, ctypes.POINTER(ctypes.c_size_t))[0] = 30
        ctypes.cast(total, ctypes.POINTER(ctypes.c_size_t))[0] = 100
        return 0


@pytest.mark.parametrize(
    ("address", "kind"),
    [(LOCKED, "locked"), (ORDINARY, "ordinary"), (ON_DEVICE, "device"), (FOREIGN, "unknown")],
)
def test_the_kind_of_memory_is_the_runtimes_own(address: int, kind: MemoryKind) -> None:
    runtime = Runtime({LOCKED: 1, ORDINARY: 0, ON_DEVICE: 2})

    assert CudaMemory(runtime, 1).kind_of(address) == kind
    assert runtime.devices == [1]
    assert runtime.last_error == 0, "an error that stays is reported by the next launch"


def test_used_memory_is_what_is_not_free() -> None:
    assert CudaMemory(Runtime({})).used_bytes() == 70
    assert CudaMemory(Runtime({}, broken=True)).used_bytes() is None
