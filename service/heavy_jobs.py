"""Jobs that take long run a few at a time, so that they never occupy all threads that run batches."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, TypeVar

from service.errors import ClientLeftError, DeadlineError, OverloadedError

T = TypeVar("T")

OTHERS_SECONDS = 1.0
"""For so long after a small image the next one is expected, and medium jobs leave a thread to it."""


class Weight(Enum):
    """How long a job keeps a thread: a short one as a small image does, a long one for as long as it likes."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class HeavyJobs:
    """Bounds how many heavy jobs are queued or running at once; called on the event loop.

    Long jobs leave one thread to all others, always; medium ones only while small images come, and use all threads
    otherwise. Requests have their turns: each has only as many jobs that wait for a place as there are threads.

    Args:
        threads: how many run batches; fewer where fewer prepare images.
        capacity: how many jobs may wait.
        decoders: how many threads decode images; None: those that run batches do.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        threads: int,
        capacity: int,
        decoders: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.waiting = 0
        self.threads = threads
        self.decoders = threads if decoders is None else decoders
        self._capacity = capacity
        self._clock = clock
        self._others_at = -math.inf
        long = _Places(lambda: max(1, threads - 1))
        self._places = {
            Weight.SHORT: _Places(lambda: threads),
            Weight.MEDIUM: _Places(lambda: self._most_medium(long.taken)),
            Weight.LONG: long,
        }

    def note_other(self) -> None:
        """Note that a small image has come."""
        self._others_at = self._clock()

    def _most_medium(self, long: int) -> int:
        """Return how many medium jobs have a place beside so many long ones."""
        leaves_one = self._clock() - self._others_at < OTHERS_SECONDS
        return max(1, self.decoders - leaves_one - long)

    async def run(
        self,
        jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]],
        *,
        disconnected: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> list[T]:
        """Return what all jobs of a request return, in order; when one raises an error, the others are canceled.

        Raises:
            OverloadedError: too many wait already.
            ClientLeftError: the client left before.
        """
        if self.waiting + len(jobs) > self._capacity:
            raise OverloadedError(
                f"{self.waiting} large images wait already, and {len(jobs)} more do not fit into the line of "
                f"{self._capacity}. Try again in a moment."
            )
        own = asyncio.Semaphore(self.threads)
        self.waiting += len(jobs)
        tasks = [asyncio.create_task(_in_turn(own, job)) for job in jobs]
        results = asyncio.gather(*tasks)
        awaited: set[asyncio.Future[Any]] = {results}
        if disconnected is not None:
            awaited.add(asyncio.create_task(disconnected()))
        try:
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if results in done:
                return results.result()
            raise ClientLeftError("The client closed its connection.")
        finally:
            self.waiting -= len(jobs)
            for one in (*tasks, *awaited):
                one.cancel()
            await asyncio.gather(*tasks, *awaited, return_exceptions=True)

    @asynccontextmanager
    async def place(self, weight: Weight, *, seconds: float) -> AsyncIterator[None]:
        """Wait for a place among the jobs of this weight, and hold it for the length of the block.

        Raises:
            DeadlineError: none was free within so many seconds.
        """
        places = self._places[weight]
        try:
            async with asyncio.timeout(seconds):
                await places.acquire()
        except TimeoutError:
            raise DeadlineError(
                "The large images before this one took until its deadline."
            ) from None
        try:
            yield
        finally:
            places.release()
            self._places[Weight.MEDIUM].let_in()  # a long job that has ended leaves more to these


class _Places:
    """Places that are given first come, first served, as many as `limit` returns at the time.

    A limit that has grown is looked at when the next place is given back. It must be 1 at least, so that one will be.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self.taken = 0
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self.let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.let_in()
            else:
                self.release()
            raise

    def release(self) -> None:
        self.taken -= 1
        self.let_in()

    def let_in(self) -> None:
        """Give the places that are free to those that wait."""
        while self._waiting and (self._waiting[0].done() or self.taken < self._limit()):
            turn = self._waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


async def _in_turn(own: asyncio.Semaphore, job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async with own:
        return await job()
