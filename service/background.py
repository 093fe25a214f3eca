"""What runs beside the service for as long as it serves."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from service.logs import LOGGER
from service.metrics import Metrics
from service.runtime.host import trim_heap

log = logging.getLogger(LOGGER)

LAG_PROBE_SECONDS = 0.25
TRIM_SECONDS = 10.0
AGAIN_SECONDS = 1.0


async def return_memory(then: Callable[[], None]) -> None:
    """Return freed memory that malloc keeps in fragments to the system: after large bodies that is 150 MiB.

    Args:
        then: called each time on the event loop.
    """
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(trim_heap)
        then()


async def watch_lag(
    metrics: Metrics,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Observe without end how many seconds later than it was due the event loop wakes a task."""
    while True:
        before = clock()
        await sleep(LAG_PROBE_SECONDS)
        late = clock() - before - LAG_PROBE_SECONDS
        metrics.event_loop_lag.observe(max(0.0, late))


async def kept_up(
    work: Callable[[], Coroutine[None, None, None]],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Do what has no end, and begin it again where it fails: for want of memory, or of a thread for a moment."""
    while True:
        try:
            await work()
        except Exception as error:  # without it nobody would see what it watches
            log.error(
                "a background task failed, and begins again in %g s", AGAIN_SECONDS, exc_info=error
            )
            await sleep(AGAIN_SECONDS)
        else:
            return


@asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` beside the block. It ends with the block; if it fails before that, the log has the error."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task failed", exc_info=error)
