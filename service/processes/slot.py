"""One worker's place in a service of several processes, and the files that the processes share."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """One of `count` places for a worker process; where a worker dies, another one takes its slot.

    Args:
        folder: the service's own temporary folder.
        index: counts from 0.
        count: how many slots the service has.
        refilled: whether an earlier worker of this slot has died.
        in_turn: whether each worker starts when the one before it has loaded its models.
    """

    folder: Path
    index: int
    count: int
    refilled: bool = False
    in_turn: bool = False

    @property
    def is_late(self) -> bool:
        """Whether others may serve already when its worker starts."""
        return self.refilled or (self.in_turn and self.index > 0)

    @property
    def name(self) -> str:
        return f"worker {self.index + 1}"

    @property
    def socket(self) -> Path:
        """Where the worker answers its peers."""
        return self.folder / f"{self.index}.socket"

    @property
    def saved_metrics(self) -> Path:
        """The metrics that the worker last reported."""
        return self.folder / f"{self.index}.json"

    @property
    def overrides(self) -> Path:
        """What admin calls have changed; the same file for all slots."""
        return self.folder / "overrides.json"

    def share(self, threads: int) -> int:
        """Return this slot's part of a number of threads, at least one."""
        return max(1, threads // self.count + (self.index < threads % self.count))

    def others(self) -> "list[WorkerSlot]":
        """Return the service's other slots."""
        return [
            WorkerSlot(self.folder, index, self.count)
            for index in range(self.count)
            if index != self.index
        ]
