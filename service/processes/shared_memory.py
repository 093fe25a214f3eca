"""The memory that all workers share: whether they load one after the other, and what is said where it is too little."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from service.image_memory import SUPERVISOR_BYTES
from service.logs import LOGGER
from service.runtime.host import granted_memory, memory_kills

log = logging.getLogger(LOGGER)

ENOUGH_BYTES = 2 << 30
"""For each worker, as docs/deploy.md recommends. With less they load one after the other."""


class SharedMemory:
    """What a service of several processes knows of its memory.

    Args:
        count: how many workers share it.
        limit: so many bytes; None: the system does not state it.
        kills: returns how many processes the kernel has ended for want of memory, by cgroup.
    """

    def __init__(
        self,
        count: int,
        limit: int | None,
        kills: Callable[[], Mapping[Path, int]] = memory_kills,
    ) -> None:
        self._count = count
        self._limit = limit
        self._kills = kills
        self._reported = False

    @classmethod
    def of_this_machine(cls, count: int) -> "SharedMemory":
        """Return that of this process's cgroup, or of the machine."""
        return cls(count, granted_memory())

    @property
    def is_tight(self) -> bool:
        """Whether workers load one after the other: loading takes more for a while than what they hold then."""
        return self._limit is not None and self._limit < self._count * ENOUGH_BYTES

    def kills(self) -> Mapping[Path, int]:
        """Return what `advice` compares later."""
        return self._kills()

    def loaded(self, took: int) -> None:
        """Say once that the memory is too little for so many workers.

        Args:
            took: the most bytes that a worker has held until its models were loaded; 0: it is not known.
        """
        needed = SUPERVISOR_BYTES + self._count * took
        if self._limit is None or needed <= self._limit or self._reported:
            return
        self._reported = True
        log.error(
            "The memory is too little for %d workers: %d MiB in all, %d for each, and one took %d MiB to load its "
            "models. Most large requests are refused, and the kernel may end workers. Set FOVEAL_WORKERS=%d, or give "
            "the service at least %d MiB.",
            self._count,
            self._limit >> 20,
            max(0, self._limit - SUPERVISOR_BYTES) // self._count >> 20,
            took >> 20,
            max(1, (self._limit - SUPERVISOR_BYTES) // took),
            -(-needed >> 20),
        )

    def advice(self, before: Mapping[Path, int]) -> str:
        """Return what to do where the kernel has ended a process for want of memory since then; else nothing."""
        if all(count <= before.get(group, 0) for group, count in self._kills().items()):
            return ""
        have = "" if self._limit is None else f" of {self._limit >> 20} MiB"
        return (
            f"; the memory{have} was used up, as oom_kill of the control group says. Give the service more memory, or "
            "set FOVEAL_WORKERS lower"
        )
