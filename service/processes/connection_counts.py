"""How many connections each worker has, so that a new connection goes to the worker with the fewest."""

import mmap

from service.processes.slot import WorkerSlot

_NONE_TO_COME = 2**32 - 1
_HARDLY = 16
"""Of so many connections one more is hardly more."""


class ConnectionCounts:
    """One number for each slot, in memory that all processes map; a worker writes its own and reads all."""

    def __init__(self, slot: WorkerSlot) -> None:
        self._index = slot.index
        with (slot.folder / "connections").open("a+b") as file:
            file.truncate(slot.count * 4)
            self._counts = memoryview(mmap.mmap(file.fileno(), slot.count * 4)).cast("I")
        self._counts[self._index] = 0

    def vacate(self) -> None:
        """Leave no connection to this slot's worker, which has died."""
        self._counts[self._index] = _NONE_TO_COME

    def has_fewest(self, own: int) -> bool:
        """Write this worker's number of connections; return whether no other worker has fewer, or hardly fewer.

        Of many connections a few do not count: in a burst two workers waited for each other all the time, and
        accepted 800 connections in a second.
        """
        self._counts[self._index] = own
        fewest = min(self._counts)
        return own <= fewest + fewest // _HARDLY
