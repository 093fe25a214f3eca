"""The threads that run batches, shared by every model on a device: no more of them runnable than there are cores."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from service.logs import LOGGER

log = logging.getLogger(LOGGER)


class Lane(Protocol):
    """A queue that workers pull from; both methods are called with the workers' condition held."""

    def ripe_at(self) -> float | None:
        """Return when (`perf_counter` seconds) its next batch may be taken, None while there is none to take."""

    def take(self, workers: int, *, alone: bool) -> Callable[[], None]:
        """Remove the next batch and return what runs it, outside the lock; it never raises.

        `alone` says that nothing else runs, nor did when the batch before began: the cores are free for this one.
        """


class Workers:
    """A fixed crew of threads over any number of lanes.

    A free worker takes at once the batch that has been ripe for longest, whichever lane it lies in, so that several
    models share the cores without oversubscribing them and none starves. Waiting costs nothing: no timer, no polling.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.condition = threading.Condition()
        self._lanes: list[Lane] = []
        self._closing = False
        self._running = 0
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

    def run_ended(self) -> None:
        """Told by a lane, with the condition held, when a batch has run and before anybody is answered."""
        self._running -= 1
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
                ripe = [(at, lane) for lane in self._lanes if (at := lane.ripe_at()) is not None]
                at, lane = min(ripe, key=lambda pair: pair[0], default=(None, None))
                if at is None or lane is None:
                    if self._closing:
                        return None
                    self.condition.wait()
                elif self._closing or (wait := at - time.perf_counter()) <= 0:
                    return self._take_from(lane)
                else:
                    self.condition.wait(wait)

    def _take_from(self, lane: Lane) -> Callable[[], None]:
        alone = self._running == 0
        batch = lane.take(self.count, alone=alone and self._alone_before)
        self._alone_before = alone
        self._running += 1
        return batch
