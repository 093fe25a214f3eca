import contextlib
import ctypes
from typing import Any

import pytest

from service.errors import DeviceError
from service.runtime.device import Device, DeviceName
from service.runtime.probing import Gpu, describe_gpu, find_device, is_lost, try_device


def test_the_cpu_always_works() -> None:
    device = try_device("cpu")
    assert (device.name, device.index) == ("cpu", 0)
    assert device.detail.endswith(" CPU")


@pytest.mark.parametrize("name", ["openvino", "cuda", "tensorrt"])
def test_a_device_that_is_named_works_or_the_error_says_why_and_what_to_do(name: str) -> None:
    try:
        assert find_device(name).name == name
    except DeviceError as error:
        assert name in str(error)  # which of the two holds depends on the machine
        assert any(mend in str(error) for mend in ("install", "Install", "FOVEAL_DEVICE"))


def test_auto_takes_one_that_works() -> None:
    assert find_device("auto").name in {"cuda", "cpu"}


def test_auto_takes_the_cpu_where_there_is_no_gpu() -> None:
    with contextlib.suppress(DeviceError):
        try_device("cuda")
        pytest.skip("CUDA works here")
    assert find_device("auto").name == "cpu"


def test_a_gpu_that_is_not_here_is_not_replaced_by_another_device() -> None:
    with pytest.raises(DeviceError):
        find_device("cuda", index=99)


def test_the_probe_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(DeviceError):
        try_device("cuda")
    try_device("cpu")
    assert capfd.readouterr().out == ""


LOST = "Non-zero status code returned. Name:'CUDA failure 700' Status Message: an illegal memory access"


@pytest.mark.parametrize(
    ("device", "words", "probed", "lost"),
    [
        ("cuda", LOST, "CUDA failure 700: an illegal memory access was encountered", True),
        ("tensorrt", LOST, "ONNX Runtime fell back to CPUExecutionProvider", True),
        ("cuda", LOST, "", False),
        ("cuda", LOST, "CUDA failure 2: out of memory", False),
        ("cuda", "indices element out of data bounds", "a probe that is not made", False),
        ("cpu", LOST, "a probe that is not made", False),
    ],
)
def test_whether_a_gpu_is_lost_is_asked_of_the_gpu_and_not_of_a_models_words(
    device: DeviceName, words: str, probed: str, *, lost: bool
) -> None:
    tried = []

    def probe(given: Device) -> None:
        tried.append(given)
        if probed:
            raise DeviceError(probed)

    assert is_lost(Device(device), RuntimeError(words), probe) is lost
    assert bool(tried) is (device != "cpu" and words is LOST)


class Driver:
    """Stands in for the driver's library: knows `cards`."""

    def __init__(self, *cards: str) -> None:
        self._cards = cards

    def cuInit(self, _flags: int) -> int:  # noqa: N802  # the driver's name
        return 0 if self._cards else 100

    def cuDeviceGet(self, number: Any, index: ctypes.c_int) -> int:  # noqa: N802
        if index.value >= len(self._cards):
            return 101
        number._obj.value = index.value  # noqa: SLF001  # what ctypes.byref points to
        return 0

    def cuDeviceGetName(self, room: Any, size: ctypes.c_int, number: ctypes.c_int) -> int:  # noqa: N802
        room.value = self._cards[number.value].encode()[: size.value - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, number: ctypes.c_int) -> int:  # noqa: N802
        memory._obj.value = (number.value + 1) << 34  # noqa: SLF001
        return 0


def test_a_gpu_has_the_name_and_the_memory_that_its_driver_states() -> None:
    cards = Driver("NVIDIA L4", "NVIDIA H200")
    assert describe_gpu(1, lambda _: cards) == Gpu("NVIDIA H200", 2 << 34)
    assert describe_gpu(2, lambda _: cards) == Gpu("GPU 2")
    assert describe_gpu(0, lambda _: Driver()) == Gpu("GPU 0")


def test_without_a_driver_a_gpu_has_a_number() -> None:
    def load(name: str) -> Any:  # as ctypes.CDLL
        raise OSError(f"{name} is not here")

    assert describe_gpu(3, load) == Gpu("GPU 3")
