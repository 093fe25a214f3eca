"""What answers hold that their clients have not read, of all connections of a process, bounded in sum."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from service.logs import LOGGER

log = logging.getLogger(LOGGER)

KEPT_SHARE = 7 / 8
"""Of the limit, so much is left after connections were closed, so that not every further answer closes another one."""


class Unread(Protocol):
    """A connection whose client has not read all of its answer."""

    def unread_bytes(self) -> int: ...
    def reset(self) -> None: ...


class UnreadAnswers:
    """Counts what slow readers hold. Above the limit those are closed that have cost most: bytes times seconds.

    A client that reads fast has cost little when its answer is over. Everything runs on the event loop.

    Args:
        limit: bytes of all unread answers together.
        clock: what the seconds are measured with.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._since: dict[Unread, float] = {}

    def add(self, connection: Unread) -> None:
        """Note that a connection holds what its client does not read at once."""
        self._since.setdefault(connection, self._clock())
        self._make_room()

    def remove(self, connection: Unread) -> None:
        """Note that its client has read nearly everything, or that it is closed."""
        self._since.pop(connection, None)

    def _make_room(self) -> None:
        sizes = {connection: connection.unread_bytes() for connection in self._since}
        held = sum(sizes.values())
        if held <= self._limit:
            return
        now = self._clock()

        def cost(connection: Unread) -> float:
            return sizes[connection] * (now - self._since[connection])

        for connection in sorted(sizes, key=cost, reverse=True):
            seconds = now - self._since.pop(connection)
            log.warning(
                "closed a connection whose client left %d bytes of its answer unread for %.1f s: all unread answers "
                "held %d bytes, and %d are allowed",
                sizes[connection],
                seconds,
                held,
                self._limit,
            )
            held -= sizes[connection]
            connection.reset()
            if held <= self._limit * KEPT_SHARE:
                return
