"""What a tree of processes uses: CPU seconds and resident memory, from outside."""

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
"""Of one core: a tree below it has finished what it was asked."""
IDLE_WINDOW_SECONDS = 0.2
LEARNING_SECONDS = 1.0
IDLE_TOLERANCE = 1.2
"""Above what it uses for nothing: servers that poll do not do so evenly."""


class Tree:
    """A process and everything below it.

    `idle_cores` is what it uses when it has nothing to do, once `learn_idle` has watched it.
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
        """Return the resident memory; what several processes share is counted once (PSS)."""
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
        """Wait until nothing is left of the load that just ended, so that it does not slow who comes next."""
        until = time.perf_counter() + limit_seconds
        idle = self.idle_cores * IDLE_TOLERANCE + IDLE_SHARE
        while time.perf_counter() < until and self.cores_in_use() > idle:
            pass

    def suspend(self) -> None:
        """Halt a tree that uses the cores for nothing, so that it takes none from others; leave a quiet one alone."""
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
    """What a tree used since the meter was made, and what the machine was kept busy with otherwise."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._began = time.perf_counter()
        self._tree_before = tree.cpu_seconds()
        self._own_before = _own_seconds()
        self._machine_before = _machine_seconds()

    def read(self) -> tuple[float, float]:
        """Return the tree's CPU seconds, and the cores that others than it, we and the load generator took."""
        elapsed = time.perf_counter() - self._began
        spent = self._tree.cpu_seconds() - self._tree_before
        known = spent + _own_seconds() - self._own_before
        foreign = (_machine_seconds() - self._machine_before - known) / elapsed
        return spent, max(0.0, foreign)


def _own_seconds() -> float:
    """Of this process and of those that it has started and waited for: the load generator."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine_seconds() -> float:
    """Of all cores, what a hypervisor gave to others included."""
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
    """Records a tree's memory on a thread of its own while the block runs."""

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
