import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import DeviceError, ServableError
from service.runtime.device import Device
from service.runtime.loading import first_allowed, load_model
from service.runtime.repository import scan_repository
from service.runtime.session import find_device
from tests.servables import write_servable


def refusing(*refused: str) -> Callable[[str], str]:
    def open_as(plan: str) -> str:
        if plan in refused:
            raise DeviceError(f"no {plan}")
        return plan

    return open_as


def test_the_best_way_that_a_network_allows_is_taken_and_the_rest_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        assert first_allowed(["graphs", "plain"], refusing("graphs"), "resnet50") == "plain"
    assert "resnet50 is served in a plainer way, since no graphs" in caplog.text
    assert first_allowed(["graphs", "plain"], refusing(), "resnet50") == "graphs"


def test_where_no_way_is_allowed_the_plainest_says_why() -> None:
    with pytest.raises(DeviceError, match="no plain"):
        first_allowed(["graphs", "plain"], refusing("graphs", "plain"), "resnet50")


def test_a_fault_of_ours_is_not_taken_for_a_network_that_does_not_allow_it() -> None:
    def broken(_: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        first_allowed(["graphs", "plain"], broken, "resnet50")


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_without_the_gpu_nothing_is_served_from_the_cpu_in_its_stead(
    tmp_path: Path, name: str
) -> None:
    with contextlib.suppress(DeviceError):
        find_device(name)
        pytest.skip(f"{name} works here")
    write_servable(tmp_path, "colors")
    (servable,), _ = scan_repository(tmp_path)
    device = Device("cuda" if name == "cuda" else "tensorrt")
    with pytest.raises((DeviceError, ServableError), match="memory of cuda"):
        load_model(servable, device, largest=2, instances=1, threads=1, cache=tmp_path, graphs=True)
