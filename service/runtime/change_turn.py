"""Whose turn it is to change what is served: one change at a time, and none waits for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.errors import OverloadedError

MOST_WAITING = 8
"""Changes that may wait for the one before."""
TURN_SECONDS = 30.0
"""How long a change waits for those before it."""


class ChangeTurn:
    """Lets one change after the other happen. All methods are called on the event loop.

    Args:
        seconds: how long a change waits for those before it.
        clock: seconds that only grow.
    """

    def __init__(
        self, seconds: float = TURN_SECONDS, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._running = ""
        self._began = 0.0

    @asynccontextmanager
    async def of(self, change: object) -> AsyncIterator[None]:
        """Let a change have its turn for the length of the block.

        Args:
            change: its text says what it does, to those that wait for it.

        Raises:
            OverloadedError: too many changes wait, or those before this one took too long.
        """
        await self._take()
        self._running, self._began = str(change), self._clock()
        try:
            yield
        finally:
            self._lock.release()

    async def _take(self) -> None:
        if self._waiting >= MOST_WAITING:
            raise OverloadedError(
                f"{self._waiting} changes of the models wait for the one that runs. Try again in a moment."
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._lock.acquire()
        except TimeoutError:
            raise OverloadedError(
                f"Nothing was changed. This change has waited for {self._seconds:g} s (FOVEAL_LOAD_SECONDS), and "
                f"another one still runs, for {self._clock() - self._began:.0f} s: {self._running}. It is given up "
                "after FOVEAL_MAX_LOAD_SECONDS for each model at the latest. Try again when it has ended."
            ) from None
        finally:
            self._waiting -= 1
