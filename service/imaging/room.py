"""The memory for decoded pixels: large images are decoded at once only as far as they fit into it together."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import DeadlineError, TooManyPixelsError

SMALL_PIXELS = 1_000_000
"""Smaller images are not counted: those of all threads together are a fraction of one large image."""
BYTES_PER_PIXEL = 20
"""What a large image takes while it is decoded and drawn on, at most: a WebP takes 17, most formats 3 to 8."""
TIGHT_BYTES_PER_PIXEL = 18
"""What is counted for a pixel where memory is short: a WebP of 36 or 64 million, drawn on, took 14 to 16."""
TIGHT_JPEG_SHARE = 2
"""A JPEG that is prepared for a network took 4 bytes a pixel, and a progressive one 10 at most."""
RETURNED_SHARE = 8
"""Where memory is short, an image of more than one in so many pixels of the room gives its memory back at once."""
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

    An image that is larger than the room is admitted alone, unless `fit` has set how large it may be. Whoever waits
    gives up at the deadline of the request.

    An image that is kept after it was decoded takes room by what it holds then. While images are kept, no further one
    is decoded to be kept unless all fit. Other work is not held up by them alone: what is made from them is such work,
    and they are released only after it.

    Args:
        pixels: how many pixels may be in work at once.
        clock: seconds that only grow, in which the deadlines are.
        return_memory: gives what was freed back to the system; called after large images where memory is short.
    """

    def __init__(
        self,
        pixels: int,
        clock: Callable[[], float] = time.perf_counter,
        return_memory: Callable[[], None] = lambda: None,
    ) -> None:
        self.pixels = pixels
        self.largest: int | None = None
        self._return_memory = return_memory
        self.in_work = 0
        self.kept = 0
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Ticket] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for room."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no large image is in work, kept or waits."""
        return not (self.in_work or self.kept or self._waiting)

    def fit(self, pixels: int, largest: int | None) -> None:
        """Take so many pixels at once from now on, and refuse an image of more than `largest`; None: refuse none."""
        with self._changed:
            self.pixels = pixels
            self.largest = largest
            self._changed.notify_all()

    @contextmanager
    def hold(self, pixels: int, until: float, *, tight_share: int = 1) -> Iterator[None]:
        """Wait for room for so many pixels, and hold it while the block runs; for worker threads.

        Where memory is short, only one in `tight_share` of them is counted: the work takes less than other work.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
            TooManyPixelsError: the memory has never room for so many.
        """
        if pixels <= SMALL_PIXELS:
            yield
            return
        counted = pixels if self.largest is None else pixels // tight_share
        self._take(counted, until, share=tight_share)
        try:
            yield
        finally:
            self._give_back(counted)
            with self._changed:
                self.in_work -= counted
                self._changed.notify_all()

    @contextmanager
    def keep(self, pixels: int, until: float) -> Iterator[KeptPixels]:
        """Wait for room for so many pixels, hold it while the block decodes them, and count what is kept after it.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
            TooManyPixelsError: the memory has never room for so many.
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
            self._give_back(pixels)
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

    def _give_back(self, pixels: int) -> None:
        """Let the next image find the memory of this one, which malloc keeps for the thread that freed it."""
        if self.largest is not None and pixels * RETURNED_SHARE > self.pixels:
            self._return_memory()

    def _require(self, pixels: int, share: int) -> None:
        if self.largest is not None and pixels > self.largest:
            found, most = pixels * share / 1e6, self.largest * share / 1e6
            raise TooManyPixelsError(
                f"{found:.1f} million pixels are more than the {most:.1f} million that the memory of the service has "
                "room for. Send a smaller image; or its operator gives it more memory or fewer "
                "workers, or sets FOVEAL_MAX_PIXELS."
            )

    def _take(self, pixels: int, until: float, *, keeps: bool = False, share: int = 1) -> None:
        ticket = _Ticket(keeps)
        with self._changed:
            self._require(pixels, share)
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
