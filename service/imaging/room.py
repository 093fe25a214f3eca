"""The memory for decoded pixels: large images are decoded at once only as far as they fit into it together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import DeadlineError

SMALL_PIXELS = 1_000_000
"""Smaller images are not counted: those of all threads together are a fraction of one large image."""
BYTES_PER_PIXEL = 20
"""What a large image takes while it is decoded and drawn on, at most: a WebP takes 17, most formats 3 to 8."""


class PixelRoom:
    """Admits work on large images, first come, first served, while their pixels fit together.

    An image that is larger than the room is admitted alone. Whoever waits gives up at the deadline of the request.

    Args:
        pixels: how many pixels may be in work at once.
        clock: seconds that only grow, in which the deadlines are.
    """

    def __init__(self, pixels: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.pixels = pixels
        self.in_work = 0
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for room."""
        return len(self._waiting)

    @contextmanager
    def hold(self, pixels: int, until: float) -> Iterator[None]:
        """Wait for room for so many pixels, and hold it while the block runs; for worker threads.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
        """
        if pixels <= SMALL_PIXELS:
            yield
            return
        self._take(pixels, until)
        try:
            yield
        finally:
            with self._changed:
                self.in_work -= pixels
                self._changed.notify_all()

    def _take(self, pixels: int, until: float) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._fits(pixels):
                    left = until - self._clock()
                    if left <= 0:
                        raise DeadlineError("No memory for the image was free before the deadline.")
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                self.in_work += pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return not self.in_work or self.in_work + pixels <= self.pixels
