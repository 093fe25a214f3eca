"""The outcomes of one call with several jobs, kept until all are there: the event loop is woken once, not per batch."""

import threading
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class CallOutcomes(Generic[K, V]):
    """Keeps outcomes, from any thread, until the last one is there; only then can the caller go on anyhow.

    Sixteen images in batches of two would wake the event loop eight times. Each time its code and data have left the
    caches, and the interpreter's lock is taken from the threads that run batches.

    An outcome is given out once: by the `add` that completes the call, or by `release`.

    Args:
        jobs: how many the call has.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._kept: dict[K, V] = {}
        self._released = False
        self._lock = threading.Lock()

    def add(self, entry: K, outcome: V) -> list[tuple[K, V]]:
        """Keep the outcome of a job, the first where it has several; return all of them once the call is complete."""
        with self._lock:
            if self._released:
                return [(entry, outcome)]
            self._kept.setdefault(entry, outcome)
            return self._taken() if len(self._kept) == self._jobs else []

    def has(self, entry: K) -> bool:
        """Return whether the outcome of a job is kept."""
        with self._lock:
            return entry in self._kept

    def release(self) -> list[tuple[K, V]]:
        """Return what is kept, and keep nothing more: the call ends in another way for some of its jobs."""
        with self._lock:
            return self._taken()

    def _taken(self) -> list[tuple[K, V]]:
        self._released = True
        # Entries refer to this object: what it forgets leaves no cycle.
        kept, self._kept = self._kept, {}
        return list(kept.items())
