"""Jobs that take long run a few at a time, so that they never occupy all threads that run batches."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from service.errors import ClientLeftError, DeadlineError, OverloadedError

T = TypeVar("T")


class HeavyJobs:
    """Bounds how many heavy jobs are queued or running at once; called on the event loop.

    Long jobs leave one thread to all others. Requests have their turns: each has only as many jobs that wait for a
    place as there are threads.

    Args:
        threads: how many run batches, or prepare images where others do that.
        capacity: how many jobs may wait.
    """

    def __init__(self, threads: int, capacity: int) -> None:
        self.waiting = 0
        self.threads = threads
        self._capacity = capacity
        self._long = asyncio.Semaphore(max(1, threads - 1))
        self._short = asyncio.Semaphore(threads)

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
    async def place(self, *, is_long: bool, seconds: float) -> AsyncIterator[None]:
        """Wait for a place among the long or the short jobs, and hold it for the length of the block.

        Raises:
            DeadlineError: none was free within so many seconds.
        """
        places = self._long if is_long else self._short
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


async def _in_turn(own: asyncio.Semaphore, job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async with own:
        return await job()
