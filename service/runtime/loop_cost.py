"""What a job costs beside the threads that run it: the event loop receives its image and sends its answer."""

import threading
import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], float]

WINDOW_JOBS = 64
"""Over how many jobs the cost of one is averaged."""
WINDOW_SECONDS = 1.0
"""How long these may take: in a longer time the event loop does too much that no job is the cause of."""


def clock_of_this_thread() -> Clock | None:
    """Return a clock of what this thread takes of the processor, in seconds, which any thread may read.

    None where the system has no such clock.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        return None
    return partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))


class LoopCost:
    """Measures what one job costs, from how much processor time went by while so many of them ran.

    A small network's image costs the event loop a third of what it costs the threads, and a large one's hardly
    anything. Models that share the time of the threads alone do not share the machine.

    Args:
        spent: what the event loop's thread has taken of the processor, in seconds.
        clock: any clock, in seconds.
    """

    def __init__(self, spent: Clock, clock: Clock) -> None:
        self._spent = spent
        self._clock = clock
        self._of_one = 0.0
        self._jobs = 0
        self._since = clock()
        self._spent_before = spent()

    def of(self, jobs: int) -> float:
        """Return what so many jobs that have just run cost, in seconds of a core; 0 before that is known."""
        self._jobs += jobs
        if self._jobs >= WINDOW_JOBS:
            self._measure()
        return jobs * self._of_one

    def _measure(self) -> None:
        now = self._clock()
        try:
            spent = self._spent()
        except OSError:  # a thread that comes back late outlives the event loop
            return
        if now - self._since <= WINDOW_SECONDS:
            self._of_one = (spent - self._spent_before) / self._jobs
        self._jobs, self._since, self._spent_before = 0, now, spent
