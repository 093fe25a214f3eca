"""The threads that run batches, shared by all models on a device: no more of them can run than there are cores."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from service.logs import LOGGER

log = logging.getLogger(LOGGER)

Clock = Callable[[], float]
"""Returns seconds from an arbitrary start, as `time.perf_counter` does."""

KEPT_SECONDS = 0.1
"""How long after a batch of single images one worker is kept free of batches that yield: the next image is likely to
come within it."""


class ReadyBatch(NamedTuple):
    """A batch that could be taken; workers take the smallest first.

    Attributes:
        yields: it waits as long as any batch that does not yield is ready.
        at: from when on it may be taken, in seconds of the workers' clock.
        low_priority: it comes from the lane's low-priority line.
    """

    yields: bool
    at: float
    low_priority: bool


class Lane(Protocol):
    """A queue that workers take batches from; both methods are called with the workers' condition held."""

    def ready_batches(self, now: float) -> Sequence[ReadyBatch]:
        """Return the batches that can be taken now or later: at most one of each of its lines."""

    def take(self, workers: int, *, low_priority: bool, alone: bool) -> Callable[[], None]:
        """Remove the next batch of a line and return what runs it outside the lock. Never raises.

        `alone` is true where nothing else runs, and nothing else ran when the batch before began: then this batch may
        use all cores.
        """


class Workers:
    """A fixed number of threads that serve any number of lanes.

    A free worker takes at once the batch that has been ready for longest, from whichever lane, so that several models
    share the cores without oversubscribing them and none starves. Batches that yield come after all others, and as
    long as others keep coming they leave one worker free for these. Workers wait on a condition and never poll.

    Args:
        count: how many threads.
        kept_seconds: how long one worker is kept free for the next single image; see `KEPT_SECONDS`.
        clock: the clock of the workers and of their lanes.
    """

    def __init__(
        self,
        count: int,
        kept_seconds: float = KEPT_SECONDS,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.count = count
        self.clock = clock
        self.condition = threading.Condition()
        self._kept_seconds = kept_seconds
        self._lanes: list[Lane] = []
        self._closing = False
        self.batches_ended = 0
        self._running = 0
        self._running_low_priority = 0
        self._kept_until = -math.inf
        self._alone_before = False
        self._threads = [
            threading.Thread(target=self._work, name=f"foveal-worker-{index}", daemon=True)
            for index in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the workers run what is queued, then end them; blocks until they have ended."""
        with self.condition:
            self._closing = True
            self.condition.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def attach(self, lane: Lane) -> None:
        with self.condition:
            self._lanes.append(lane)
            self.condition.notify_all()

    def detach(self, lane: Lane) -> None:
        """Take no more batches from the lane; once it is idle no worker holds a reference to it."""
        with self.condition:
            self._lanes = [other for other in self._lanes if other is not lane]
            self.condition.notify_all()

    def run_ended(self, *, low_priority: bool) -> None:
        """Count a batch as ended; a lane calls this with the condition held, before it answers anybody."""
        self.batches_ended += 1
        self._running -= 1
        self._running_low_priority -= low_priority
        self.condition.notify()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                batch()
            except BaseException:  # a dead worker would strand every later request
                log.exception(
                    "A batch raised an error that it should have handled. The worker goes on."
                )
            # While this thread waits, it must keep neither images nor a removed model alive.
            del batch

    def _next_batch(self) -> Callable[[], None] | None:
        with self.condition:
            while True:
                now = self.clock()
                offers = [
                    (self._kept(ready), lane)
                    for lane in self._lanes
                    for ready in lane.ready_batches(now)
                ]
                due = [offer for offer in offers if self._closing or offer[0].at <= now]
                if due:
                    return self._take(*min(due, key=_urgency))
                if offers:
                    self.condition.wait(min(ready.at for ready, _ in offers) - now)
                elif self._closing:
                    return None
                else:
                    self.condition.wait()

    def _kept(self, ready: ReadyBatch) -> ReadyBatch:
        """Postpone a batch that yields where it would occupy the last worker while single images keep coming."""
        if ready.yields and self.count > 1 and self._running_low_priority >= self.count - 1:
            return ready._replace(at=max(ready.at, self._kept_until))
        return ready

    def _take(self, ready: ReadyBatch, lane: Lane) -> Callable[[], None]:
        if ready.low_priority:
            self._running_low_priority += 1
        else:
            self._kept_until = self.clock() + self._kept_seconds
        alone = self._running == 0
        batch = lane.take(
            self.count, low_priority=ready.low_priority, alone=alone and self._alone_before
        )
        self._alone_before = alone
        self._running += 1
        return batch


def _urgency(offer: tuple[ReadyBatch, Lane]) -> ReadyBatch:
    return offer[0]
