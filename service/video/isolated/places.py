"""How many processes decode videos at once, and whose is ended where another video needs its place."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from service.errors import OverloadedError

STARVED_SECONDS = 0.5
"""A video that has waited so long for its bytes has nothing to do."""
_LOOK_SECONDS = 0.1


class Holder(Protocol):
    """A video with a process."""

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for bytes of its file; None: it works."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether nobody needs it any more."""
        ...

    def displace(self) -> None:
        """End its process, for another video."""
        ...


class Places:
    """Those of videos with a process. Whoever sends a file slowly keeps its place only while no other needs it.

    Args:
        count: how many there are.
        patience_seconds: how long a video waits for one.
        clock: of the times, in seconds.
    """

    def __init__(
        self,
        count: int,
        patience_seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._count = count
        self._patience = patience_seconds
        self._clock = clock
        self._held: list[Holder] = []
        self._changed = threading.Condition()

    def take(self, holder: Holder) -> None:
        """Wait for a place, or take that of the video which has waited longest for its bytes; blocking.

        Raises:
            OverloadedError: none was free in time.
        """
        until = self._clock() + self._patience
        with self._changed:
            while len(self._held) >= self._count and not holder.stopped:
                now = self._clock()
                starved = [(one.waits_since or now, at) for at, one in enumerate(self._held)]
                since, at = min(starved)
                if now - since >= STARVED_SECONDS:
                    self._held.pop(at).displace()
                elif now >= until:
                    raise OverloadedError(
                        f"{self._count} videos are decoded already, and none ended within {self._patience:g} s. Try "
                        "again in a moment."
                    )
                else:
                    self._changed.wait(_LOOK_SECONDS)
            self._held.append(holder)

    def leave(self, holder: Holder) -> None:
        """Give its place to others; again does nothing."""
        with self._changed:
            if holder in self._held:
                self._held.remove(holder)
                self._changed.notify_all()
