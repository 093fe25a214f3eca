"""The memory for decoded pixels: large images are decoded at once only as far as they fit into it together."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import DeadlineError

SMALL_PIXELS = 1_000_000
"""Smaller images are not counted: those of all threads together are a fraction of one large image."""
BYTES_PER_PIXEL = 20
"""What a large image takes while it is decoded and drawn on, at most: a WebP takes 17, most formats 3 to 8."""


KEPT_BYTES_PER_PIXEL = 3
"""What a decoded image takes that is kept."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """Work that waits; `keeps`: what it makes stays after it."""

    keeps: bool


class KeptPixels:
    """The place of a decoded image that is kept. `release` gives it back; again does nothing."""

    def __init__(self, room: "PixelRoom", pixels: int) -> None:
        self.pixels = pixels
        self._room = room

    def release(self) -> None:
        """Count the image no more: nothing is made from it any more. On any thread."""
        self._room.release(self)


class PixelRoom:
    """Admits work on large images, first come, first served, while their pixels fit together.

    An image that is larger than the room is admitted alone. Whoever waits gives up at the deadline of the request.

    An image that is kept after it was decoded takes room by what it holds then. While images are kept, no further one
    is decoded to be kept unless all fit. Other work is not held up by them alone: what is made from them is such work,
    and they are released only after it.

    Args:
        pixels: how many pixels may be in work at once.
        clock: seconds that only grow, in which the deadlines are.
    """

    def __init__(self, pixels: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.pixels = pixels
        self.in_work = 0
        self.kept = 0
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Ticket] = deque()

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

    @contextmanager
    def keep(self, pixels: int, until: float) -> Iterator[KeptPixels]:
        """Wait for room for so many pixels, hold it while the block decodes them, and count what is kept after it.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
        """
        if pixels <= SMALL_PIXELS:
            yield KeptPixels(self, 0)
            return
        self._take(pixels, until, keeps=True)
        kept = 0
        try:
            place = KeptPixels(self, 0)
            yield place
            place.pixels = kept = math.ceil(pixels * KEPT_BYTES_PER_PIXEL / BYTES_PER_PIXEL)
        finally:
            with self._changed:
                self.in_work -= pixels
                self.kept += kept
                self._changed.notify_all()

    def release(self, place: KeptPixels) -> None:
        """For `KeptPixels`."""
        with self._changed:
            self.kept -= place.pixels
            place.pixels = 0
            self._changed.notify_all()

    def _take(self, pixels: int, until: float, *, keeps: bool = False) -> None:
        ticket = _Ticket(keeps)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not (self._is_next(ticket) and self._fits(pixels, keeps=keeps)):
                    left = until - self._clock()
                    if left <= 0:
                        raise DeadlineError("No memory for the image was free before the deadline.")
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                self.in_work += pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _is_next(self, ticket: _Ticket) -> bool:
        for one in self._waiting:
            if one is ticket:
                return True
            if not (one.keeps and self.kept) or ticket.keeps:
                return False
        raise AssertionError("it waits")

    def _fits(self, pixels: int, *, keeps: bool) -> bool:
        alone = not self.in_work and not (keeps and self.kept)
        return alone or self.kept + self.in_work + pixels <= self.pixels
