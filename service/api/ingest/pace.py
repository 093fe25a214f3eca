"""The least rate at which a long body must arrive."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from service.errors import DeadlineError


class Pace:
    """The least rate of a body: so many bytes must arrive in each window of time."""

    def __init__(self, least_rate: int, window_seconds: float) -> None:
        self._window = window_seconds
        self._least_rate = least_rate
        self._least = least_rate * window_seconds
        self._ends = asyncio.get_running_loop().time() + window_seconds
        self._came = 0

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Wait for a piece until the window ends.

        Raises:
            DeadlineError: too little came in it.
        """
        try:
            async with asyncio.timeout_at(self._ends) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise self._slow() from None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Do not count the time of the block: the client is not to blame for it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._ends += loop.time() - began

    def count(self, size: int) -> None:
        """Count a piece; with enough of them a new window begins."""
        self._came += size
        if self._came and self._came >= self._least:
            self._came = 0
            self._ends = asyncio.get_running_loop().time() + self._window

    def _slow(self) -> DeadlineError:
        return DeadlineError(
            f"The body arrived at fewer than {self._least_rate} bytes per second over {self._window:g} s. Send it "
            "faster, or a smaller one."
        )
