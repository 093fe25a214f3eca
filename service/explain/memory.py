"""The memory that explanations take beside large images, from the same room; none of it where memory is not short."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from service.errors import UnavailableError
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.runtime.job import Outputs, Run, Stoppable, Tensor

RUN_TIMES = 2.5
"""Of the tensors that a run holds at once, what it takes: 0.9 to 2.4 with six networks whose runs took 10 MB or more.
An allocator has gaps, and some operators need room for themselves."""
LOAD_TIMES = 3
"""Of a file, what it takes to load it with its inner maps as outputs: 1.4 to 3 with networks of 17 to 82 MB."""


class ExplanationMemory:
    """Bounds explainers by the room for large images.

    Args:
        room: where a run waits until large images, and other explanations, leave enough.
        seconds: how long it waits; less than a run may take before it counts as stuck.
        clock: the room's.
    """

    def __init__(
        self, room: PixelRoom, seconds: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._room = room
        self._seconds = seconds
        self._clock = clock

    def require(self, name: str, file_bytes: int, run_bytes: int = 0) -> None:
        """Refuse a network whose explanations never fit.

        Args:
            name: of the network, for the message.
            file_bytes: of its file.
            run_bytes: of the tensors that a run of it with its inner maps holds at once.

        Raises:
            UnavailableError: it needs more than the room ever has.
        """
        needed = max(file_bytes * LOAD_TIMES, round(run_bytes * RUN_TIMES))
        largest = self._room.largest
        if largest is None or _pixels(needed) <= largest:
            return
        error = UnavailableError(
            f"Explaining {name} takes about {needed >> 20} MiB, and the memory of the service has room for "
            f"{largest * TIGHT_BYTES_PER_PIXEL >> 20}. Its operator gives it more memory or fewer workers."
        )
        error.retry_after_seconds = None
        raise error

    def loading(self, file_bytes: int) -> AbstractContextManager[None]:
        """Hold what it takes to load a file while the block runs; blocking.

        Raises:
            DeadlineError: there was no room in time.
        """
        return self._hold(file_bytes * LOAD_TIMES, on_worker=False)

    def bounded(self, run: Run, run_bytes: int) -> Run:
        """Return a network whose runs wait for room for the tensors that each holds at once, and hold it.

        Its runs raise `DeadlineError` where there was no room in time, and `OverloadedError` where videos have it.
        """
        return _RunInRoom(run, lambda: self._hold(round(run_bytes * RUN_TIMES), on_worker=True))

    def _hold(self, size: int, *, on_worker: bool) -> AbstractContextManager[None]:
        until = self._clock() + self._seconds
        return self._room.hold(_pixels(size), until, on_worker=on_worker)


class _RunInRoom:
    def __init__(self, run: Run, hold: Callable[[], AbstractContextManager[None]]) -> None:
        self._run = run
        self._hold = hold

    def __call__(self, batch: Tensor) -> Outputs:
        with self._hold():
            return self._run(batch)

    def stop(self, thread: int) -> None:
        """Let the run of a thread end with an error, where the network can."""
        if isinstance(self._run, Stoppable):
            self._run.stop(thread)


def _pixels(size: int) -> int:
    return size // TIGHT_BYTES_PER_PIXEL
