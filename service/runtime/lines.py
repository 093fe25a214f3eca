"""The two lines of one model's queue: which jobs wait, and which of them form the next batch."""

import math
from weakref import WeakMethod

from service.errors import OverloadedError
from service.runtime.entry import Entry, Line
from service.runtime.workers import ReadyBatch

LOW_PRIORITY_SECONDS = 0.01
"""How long a low-priority batch may occupy a worker: a delay of a single image that nobody notices."""
PATIENCE_SECONDS = 1.0
"""How long a low-priority job yields to all others; then at least every second batch is one of low priority, however
long single images wait, so that it is slow but never starves."""


class Lines:
    """A line of single images, and a low-priority line of requests that become many jobs.

    All methods but `room` are called with the workers' condition held.

    Args:
        largest: images in a batch at most.
        capacity: jobs that may wait at most, in each of the two.
        max_delay_seconds: how long a batch may wait to fill.

    Attributes:
        largest: the same; less where the memory was not enough.
        normal, low_priority: the lines.
    """

    def __init__(self, *, largest: int, capacity: int, max_delay_seconds: float) -> None:
        self.largest = largest
        self.normal = Line()
        self.low_priority = Line()
        self._capacity = capacity
        self._max_delay = max_delay_seconds
        self._low_priority_largest = 1
        self._low_priority_was_last = False

    @property
    def depth(self) -> int:
        """How many jobs wait in both."""
        return self.normal.depth + self.low_priority.depth

    def require_room(self, line: Line, count: int) -> None:
        """Refuse jobs that do not all fit into a line.

        Raises:
            OverloadedError: they do not.
        """
        if line.depth + count <= self._capacity:
            return
        error = OverloadedError(
            f"{line.depth} images wait already, and {count} more do not fit into the queue of "
            f"{self._capacity}. Try again in a moment."
        )
        error.room = WeakMethod(self.room)
        raise error

    def room(self) -> int:
        """Return how many single images still fit."""
        return self._capacity - self.normal.depth

    def ready_batches(
        self, now: float, *, closed: bool, low_priority_yields: bool = False
    ) -> list[ReadyBatch]:
        """Return the batches that can be taken now or later.

        Args:
            now: seconds of the workers' clock.
            closed: no job comes any more.
            low_priority_yields: jobs of low priority have had their share of all lanes' time.

        After a batch of single images only a low-priority job that has yielded for long enough is offered. By age alone
        it would wait as long as the images do, and the queue of a flood may hold several seconds of them.
        """
        offers = []
        low_priority = self.low_priority.waiting
        yields = bool(low_priority) and (
            low_priority_yields or now - low_priority[0].waits_since < PATIENCE_SECONDS
        )
        has_turn = bool(low_priority) and not yields and not self._low_priority_was_last
        if (normal := self.normal.waiting) and not has_turn:
            full = len(normal) >= self.largest or closed
            at = normal[0].accepted_at + (0.0 if full else self._max_delay)
            offers.append(ReadyBatch(yields=False, at=at, low_priority=False))
        if low_priority:
            at = low_priority[0].accepted_at
            offers.append(ReadyBatch(yields=yields, at=at, low_priority=True))
        return offers

    def pop(self, *, low_priority: bool, runs: int) -> tuple[list[Entry], str]:
        """Remove the next batch of a line that is not empty.

        Args:
            low_priority: of that line.
            runs: how many batches may run at once: each has its share of what waits.

        Returns:
            The batch, and why it has no more jobs: `full`, `shared`, `delay` or `drained`.
        """
        queue = (self.low_priority if low_priority else self.normal).waiting
        self._low_priority_was_last = low_priority
        waiting = len(queue)
        share = 1 if waiting == 1 else math.ceil(waiting / runs)
        if low_priority:
            size = min(self.largest, share, self._low_priority_largest)
        else:
            size = min(self.largest, waiting if self._max_delay else share)
        return [queue.popleft() for _ in range(size)], self._why_closed(size, waiting)

    def learn_pace(self, seconds: float) -> None:
        """Remember how large a batch of low priority may be, by what an image of the last one took."""
        self._low_priority_largest = max(1, int(LOW_PRIORITY_SECONDS / max(seconds, 1e-6)))

    def _why_closed(self, size: int, waiting: int) -> str:
        if size == self.largest:
            return "full"
        if size < waiting:
            return "shared"
        return "delay" if self._max_delay else "drained"
