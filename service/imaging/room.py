"""The memory for decoded pixels: large images are decoded at once only as far as they fit into it together."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import DeadlineError, OverloadedError, TooManyPixelsError

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
    """Work that waits for room for its pixels; `keeps`: what it makes stays after it."""

    pixels: int
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

    Videos may be lent a part. What does not fit beside that part waits, and holds up nothing that does. A frame of a
    video takes half of the room at most, so that it never waits for what its own video was lent.

    Args:
        pixels: how many pixels may be in work at once.
        clock: seconds that only grow, in which the deadlines are.
        return_memory: gives what was freed back to the system; called after large images and videos where memory is
            short.
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
        self.on_less: Callable[[], None] = lambda: None
        """Called when less is in work or kept, on any thread; for what waits to be lent a part."""
        self._lent = 0
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

    def can_lend(self, pixels: int) -> bool:
        """Whether so many pixels are free, or none is asked for."""
        return not pixels or self.kept + self.in_work <= self.pixels - pixels

    def lend(self, pixels: int) -> None:
        """Have room for so many pixels less from now on: videos hold it, and give it back later."""
        if pixels != self._lent:
            with self._changed:
                self._lent = pixels
                self._changed.notify_all()

    def require(self, pixels: int) -> None:
        """Refuse an image for which there is never room.

        Raises:
            TooManyPixelsError: the memory has never room for so many.
        """
        if pixels > SMALL_PIXELS:
            self._require(pixels, 1)

    @contextmanager
    def hold(
        self,
        pixels: int,
        until: float,
        *,
        tight_share: int = 1,
        of_video: bool = False,
        on_worker: bool = False,
    ) -> Iterator[None]:
        """Wait for room for so many pixels, and hold it while the block runs; blocking.

        Where memory is short, only one in `tight_share` of them is counted: the work takes less than other work. Of a
        video's frame no more is counted than half of the room. A thread that runs batches, `on_worker`, does not wait
        for what videos were lent: they may wait for it.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
            OverloadedError: it does not fit beside what videos were lent, and a worker would wait.
            TooManyPixelsError: the memory has never room for so many.
        """
        if pixels <= SMALL_PIXELS:
            yield
            return
        counted = pixels if self.largest is None else pixels // tight_share
        if of_video:
            self.require(pixels)
            counted = min(counted, self.pixels // 2)
        self._take(counted, until, share=tight_share, on_worker=on_worker)
        try:
            yield
        finally:
            self._give_back(counted)
            with self._changed:
                self.in_work -= counted
                self._changed.notify_all()
            self.on_less()

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
            self.on_less()

    def release(self, place: KeptPixels) -> None:
        """For `KeptPixels`."""
        with self._changed:
            self.kept -= place.pixels
            place.pixels = 0
            self._changed.notify_all()
        self.on_less()

    def give_back(self) -> None:
        """Return what was freed to the system where memory is short; malloc keeps it for the thread that freed it."""
        if self.largest is not None:
            self._return_memory()

    def _give_back(self, pixels: int) -> None:
        """Let the next image find the memory of this one."""
        if pixels * RETURNED_SHARE > self.pixels:
            self.give_back()

    def _require(self, pixels: int, share: int) -> None:
        if self.largest is not None and pixels > self.largest:
            found, most = pixels * share / 1e6, self.largest * share / 1e6
            raise TooManyPixelsError(
                f"{found:.1f} million pixels are more than the {most:.1f} million that the memory of the service has "
                "room for. Send a smaller image; or its operator gives it more memory or fewer "
                "workers, or sets FOVEAL_MAX_PIXELS."
            )

    def _take(
        self,
        pixels: int,
        until: float,
        *,
        keeps: bool = False,
        share: int = 1,
        on_worker: bool = False,
    ) -> None:
        ticket = _Ticket(pixels, keeps)
        with self._changed:
            self._require(pixels, share)
            self._waiting.append(ticket)
            try:
                while not (self._is_next(ticket) and self._fits(pixels, keeps=keeps)):
                    if on_worker and self._waits_for_videos(pixels):
                        raise OverloadedError(
                            "Videos hold the memory that this needs. Try again in a moment."
                        )
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
            if self._waits_for_videos(one.pixels):
                continue
            if not (one.keeps and self.kept) or ticket.keeps:
                return False
        raise AssertionError("it waits")

    def _fits(self, pixels: int, *, keeps: bool) -> bool:
        if self._waits_for_videos(pixels):
            return False
        alone = not self.in_work and not (keeps and self.kept)
        return alone or self.kept + self.in_work + pixels <= self.pixels - self._lent

    def _waits_for_videos(self, pixels: int) -> bool:
        return bool(self._lent) and pixels > self.pixels - self._lent
