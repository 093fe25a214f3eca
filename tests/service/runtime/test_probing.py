import contextlib

import pytest

from service.errors import DeviceError
from service.runtime.probing import find_device, try_device


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
