"""Very large images are decoded beside the workers, a few at a time: meanwhile these go on with everybody else's."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    UnavailableError,
    told_shortages,
)
from service.logs import LOGGER
from service.started_threads import start_threads

log = logging.getLogger(LOGGER)

T = TypeVar("T")


class DecodingAhead:
    """Runs the preparation of very large images on threads of its own; called on the event loop.

    What has not begun is dropped when its request ends: by its deadline, or because its client left.

    Args:
        threads: how many images at once.
        capacity: how many may wait.
        pool: the threads; None: it makes them.
    """

    def __init__(self, threads: int, capacity: int, pool: Executor | None = None) -> None:
        self.waiting = 0
        self._capacity = capacity
        self._count = threads
        self._threads = pool or ThreadPoolExecutor(threads, "foveal-large")

    def start(self) -> None:
        """Start the threads, so that none need be started under load."""
        start_threads(self._threads.submit, self._count)

    def close(self) -> None:
        """End the threads; blocking."""
        self._threads.shutdown(cancel_futures=True)

    async def run(
        self,
        calls: Sequence[Callable[[], T]],
        *,
        timeout_seconds: float,
        disconnected: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> list[T | FovealError]:
        """Return what each call returns, or the error of its image, in order.

        Raises:
            OverloadedError: too many wait already.
            UnavailableError: there is no thread for them.
            DeadlineError, ClientLeftError: the request ended before.
        """
        if self.waiting + len(calls) > self._capacity:
            raise OverloadedError(
                f"{self.waiting} very large images wait already. Try again in a moment."
            )
        loop = asyncio.get_running_loop()
        futures = self._begun(loop, calls)
        self.waiting += len(calls)
        results = asyncio.ensure_future(asyncio.gather(*futures))
        results.add_done_callback(_look_at)
        awaited: set[asyncio.Future[Any]] = {results}
        if disconnected is not None:
            awaited.add(asyncio.create_task(disconnected()))
        try:
            done, _ = await asyncio.wait(
                awaited, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if results in done:
                return results.result()
            if done:
                raise ClientLeftError("The client closed its connection.")
            raise DeadlineError("The image was not decoded before the deadline.")
        finally:
            self.waiting -= len(calls)
            for future in (*futures, *awaited):
                future.cancel()
            await asyncio.wait(awaited)

    def _begun(
        self, loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], T]]
    ) -> "list[asyncio.Future[T | FovealError]]":
        """Queue all calls or none."""
        futures: list[asyncio.Future[T | FovealError]] = []
        try:
            with told_shortages():
                futures.extend(loop.run_in_executor(self._threads, _caught, call) for call in calls)
        except Exception:
            for future in futures:
                future.cancel()
            raise
        return futures


def _look_at(results: "asyncio.Future[Any]") -> None:
    """Take the error of results that nobody waits for any more, or it is logged as one that nobody looked at."""
    if not results.cancelled():
        results.exception()


def _caught(call: Callable[[], T]) -> T | FovealError:
    try:
        return call()
    except FovealError as error:
        error.__cause__ = error.__context__ = None  # or its frames would keep the image
        return error.with_traceback(None)
    except MemoryError:
        log.error("A very large image could not be prepared: not enough memory.")
        return UnavailableError("There is not enough memory for this image now.")
    except (
        BaseException
    ):  # what one image meets must fail neither the others of its request nor the event loop
        log.exception("An image could not be prepared, because of an unexpected error.")
        return InferenceError("The image could not be prepared.")
