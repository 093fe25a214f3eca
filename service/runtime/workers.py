"""The threads that run batches, shared by every model on a device: no more of them runnable than there are cores."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from service.logs import LOGGER

log = logging.getLogger(LOGGER)


KEPT_SECONDS = 0.1
"""How long after a batch of images one worker is kept from what yields: the next image is likely on its way."""


class ReadyBatch(NamedTuple):
    """A batch that could be taken; the smallest is taken first.

    Attributes:
        yields: it waits while any batch that does not yield is ready.
        at: when it may be taken, in `perf_counter` seconds.
        behind: it comes from the lane's background line.
    """

    yields: bool
    at: float
    low_priority: bool


class Lane(Protocol):
    """A queue that workers pull from; both methods are called with the workers' condition held."""

    def ready_batches(self, now: float) -> Sequence[ReadyBatch]:
        """Return the batches that it has to offer, now or later: at most one of each of its lines."""

    def take(self, workers: int, *, low_priority: bool, alone: bool) -> Callable[[], None]:
        """Remove the next batch of a line and return what runs it, outside the lock; it never raises.

        `alone` says that nothing else runs, nor did when the batch before began: the cores are free for this one.
        """


class Workers:
    """A fixed crew of threads over any number of lanes.

    A free worker takes at once the batch that has been ripe for longest, whichever lane it lies in, so that several
    models share the cores without oversubscribing them and none starves; batches that yield come after all others, and
    while others keep coming they leave one worker free for them. Waiting costs nothing: no polling.
    """

    def __init__(self, count: int, kept_seconds: float = KEPT_SECONDS) -> None:
        self.count = count
        self._kept_seconds = kept_seconds
        self.condition = threading.Condition()
        self._lanes: list[Lane] = []
        self._closing = False
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
        """Let the workers finish what is queued, then end them; blocks until they have ended."""
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
        with self.condition:
            self._lanes = [one for one in self._lanes if one is not lane]

    def run_ended(self, *, low_priority: bool) -> None:
        """Told by a lane, with the condition held, when a batch has run and before anybody is answered."""
        self._running -= 1
        self._running_low_priority -= low_priority
        self.condition.notify()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                batch()
            except (
                BaseException
            ):  # a dead worker would strand every later request: it tells, and lives
                log.exception("a batch raised past its own handling")

    def _next_batch(self) -> Callable[[], None] | None:
        with self.condition:
            while True:
                now = time.perf_counter()
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
        """Put a batch that yields off where it would take the last worker from images that keep coming."""
        if ready.yields and self.count > 1 and self._running_low_priority >= self.count - 1:
            return ready._replace(at=max(ready.at, self._kept_until))
        return ready

    def _take(self, ready: ReadyBatch, lane: Lane) -> Callable[[], None]:
        if ready.low_priority:
            self._running_low_priority += 1
        else:
            self._kept_until = time.perf_counter() + self._kept_seconds
        alone = self._running == 0
        batch = lane.take(
            self.count, low_priority=ready.low_priority, alone=alone and self._alone_before
        )
        self._alone_before = alone
        self._running += 1
        return batch


def _urgency(offer: tuple[ReadyBatch, Lane]) -> ReadyBatch:
    return offer[0]
