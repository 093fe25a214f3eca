"""The options of the CUDA provider, compared on the CPU in its place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.layouts import MEASURED, OPTIONS, measure
from benchmarks.gpu.order import Order
from service.runtime.device import Device, plan_session, with_cuda


def test_each_set_of_options_is_timed_and_compared(tmp_path: Path) -> None:
    found: dict[str, dict[str, Any]] = {}

    def report(one: Mapping[str, Any]) -> None:
        for precision, options in one["precisions"].items():
            found.setdefault(precision, {}).update(options)

    measure(Order("", "cpu", 60, tmp_path, {"model": "lenet5"}), report)

    assert found.keys() == set(MEASURED)
    for options in found.values():
        assert options.keys() == OPTIONS.keys()
        for figures in options.values():
            assert min(figures["ms at 1"], figures["ms at 8"], figures["ms at 32"]) > 0
            assert figures["agreement"]["mean"] == 1


def test_options_reach_the_cuda_provider_and_no_other() -> None:
    plan = plan_session(Device("cuda"), largest=8, threads=1, cache=Path())

    changed = dict(with_cuda(plan, {"prefer_nhwc": "1"}).providers)

    assert changed["CUDAExecutionProvider"]["prefer_nhwc"] == "1"
    assert changed["CPUExecutionProvider"] == {}
