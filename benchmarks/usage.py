"""Measures the CPU seconds and the resident memory of a process tree, from outside."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psutil

SAMPLE_SECONDS = 0.5
IDLE_SHARE = 0.05
"""Share of one core; a tree that uses less has finished its requests."""
IDLE_WINDOW_SECONDS = 0.2
LEARNING_SECONDS = 1.0
IDLE_TOLERANCE = 1.2
"""Factor on the idle usage, because servers that poll do not poll evenly."""


class Tree:
    """A process and all its descendants.

    `idle_cores` is the number of cores that it uses without requests; `learn_idle` measures it.
    """

    def __init__(self, pid: int) -> None:
        self.idle_cores = 0.0
        self._root = psutil.Process(pid)

    def processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_bytes(self) -> int:
        """Return the resident memory in bytes; memory that several processes share is counted once (PSS)."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total

    def cores_in_use(self, window_seconds: float = IDLE_WINDOW_SECONDS) -> float:
        before, began = self.cpu_seconds(), time.perf_counter()
        time.sleep(window_seconds)
        return (self.cpu_seconds() - before) / (time.perf_counter() - began)

    def learn_idle(self) -> None:
        self.idle_cores = self.cores_in_use(LEARNING_SECONDS)

    def settle(self, limit_seconds: float) -> None:
        """Wait until the last load is processed, so that it does not slow the next contender."""
        until = time.perf_counter() + limit_seconds
        idle = self.idle_cores * IDLE_TOLERANCE + IDLE_SHARE
        while time.perf_counter() < until and self.cores_in_use() > idle:
            pass

    def suspend(self) -> None:
        """Suspend a tree that uses the cores without requests, so that it takes none from other contenders."""
        if self.idle_cores > IDLE_SHARE:
            self._each(psutil.Process.suspend)

    def resume(self) -> None:
        if self.idle_cores > IDLE_SHARE:
            self._each(psutil.Process.resume)

    def _each(self, act: Callable[[psutil.Process], None]) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                act(process)


class CpuMeter:
    """Measures the CPU time of a tree, and of other work on the machine, since the meter was made."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._began = time.perf_counter()
        self._tree_before = tree.cpu_seconds()
        self._own_before = _own_seconds()
        self._machine_before = _machine_seconds()

    def read(self) -> tuple[float, float]:
        """Return the tree's CPU seconds, and the cores that all processes but it, this one and its children used."""
        elapsed = time.perf_counter() - self._began
        spent = self._tree.cpu_seconds() - self._tree_before
        known = spent + _own_seconds() - self._own_before
        foreign = (_machine_seconds() - self._machine_before - known) / elapsed
        return spent, max(0.0, foreign)


def _own_seconds() -> float:
    """Return the CPU seconds of this process and of ended children: the load generator."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine_seconds() -> float:
    """Return the busy seconds of all cores, with the time that a hypervisor gave to other machines."""
    times = psutil.cpu_times()
    return float(
        times.user
        + times.system
        + getattr(times, "irq", 0)
        + getattr(times, "softirq", 0)
        + getattr(times, "steal", 0)
        + getattr(times, "nice", 0)
    )


class MemoryWatch:
    """Records a tree's memory in a separate thread while the block runs."""

    def __init__(self, tree: Tree, every_seconds: float = SAMPLE_SECONDS) -> None:
        self.seconds: list[float] = []
        self.bytes: list[int] = []
        self._tree = tree
        self._every = every_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_bytes(self) -> int:
        return max(self.bytes, default=0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.perf_counter()
        while True:
            self.bytes.append(self._tree.memory_bytes())
            self.seconds.append(time.perf_counter() - began)
            if self._end.wait(self._every):
                return
