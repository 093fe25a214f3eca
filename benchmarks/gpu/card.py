"""The GPU as its driver describes it, and how busy it is: by NVIDIA's Python package where it is installed."""

import contextlib
import importlib
import statistics
import threading
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

SAMPLE_SECONDS = 0.1
MIB = 2**20
DRIVER = Path("/proc/driver/nvidia")


def _nvml() -> ModuleType | None:
    try:
        found = importlib.import_module("pynvml")
        found.nvmlInit()
    except Exception:  # noqa: BLE001  # it is missing, or there is no driver: the package raises its own errors
        return None
    return found


def describe_card(index: int = 0) -> dict[str, Any]:
    """Return name, driver, memory, power limit and largest clock of a GPU; empty where there is none.

    Without NVIDIA's package it is the name alone, as the driver states it in /proc.
    """
    nvml = _nvml()
    if nvml is None:
        return {"name": name} if (name := name_in(DRIVER, index)) else {}
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    found: dict[str, Any] = {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "driver": _text(nvml.nvmlSystemGetDriverVersion()),
        "memory_mib": memory.total // MIB,
        "used_mib": memory.used // MIB,
    }
    with contextlib.suppress(nvml.NVMLError):
        found["power_limit_w"] = nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3
    with contextlib.suppress(nvml.NVMLError):
        found["largest_clock_mhz"] = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    return found


def name_in(driver: Path, index: int = 0) -> str:
    """Return the name of a GPU from the driver's folder in /proc; empty where there is none."""
    found = sorted(driver.glob("gpus/*/information"))[index : index + 1]
    lines = found[0].read_text().splitlines() if found else []
    names = [
        text.strip()
        for field, _, text in (line.partition(":") for line in lines)
        if field == "Model"
    ]
    return names[0] if names else ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class CardWatch:
    """Samples a GPU's load, clock and power while the block runs; does nothing where there is no GPU."""

    def __init__(self, index: int = 0) -> None:
        self._nvml = _nvml()
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index) if self._nvml else None
        self._samples: list[tuple[float, float, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def means(self) -> dict[str, float]:
        """Return the mean load (0–1), clock (MHz) and power (W); empty where nothing was sampled."""
        names = ("load", "clock_mhz", "power_w")
        columns = zip(*self._samples, strict=True)
        return {n: round(statistics.mean(c), 3) for n, c in zip(names, columns, strict=False)}

    def __enter__(self) -> Self:
        if self._nvml is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._nvml is not None:
            self._thread.join()

    def _watch(self) -> None:
        nvml, handle = self._nvml, self._handle
        assert nvml is not None
        with contextlib.suppress(nvml.NVMLError):
            while not self._end.wait(SAMPLE_SECONDS):
                load = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
                clock = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
                power = nvml.nvmlDeviceGetPowerUsage(handle) / 1e3
                self._samples.append((load, clock, power))
