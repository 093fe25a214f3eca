"""How a command ends: at the end of its images or by a signal, and with which exit status."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from service.bulk.progress import Show

GOOD, FAILED = 0, 1
"""Exit statuses: all images have a result, or some have an error in its place."""


def signal_status(number: int) -> int:
    """Return the exit status, as shells give it, of a command that a signal ended."""
    return 128 + number


@asynccontextmanager
async def signals(stop: Callable[[], None], show: Show) -> AsyncIterator[list[int]]:
    """End in order at the first SIGINT or SIGTERM, at once at the second; give the signals that came."""
    loop, came = asyncio.get_running_loop(), list[int]()
    running: asyncio.Task[Any] | None = asyncio.current_task()
    assert running is not None

    def on_signal(number: int) -> None:
        came.append(number)
        if len(came) > 1:
            running.cancel()
            return
        show.note("Ending: the images that have begun are completed. Again: end at once.")
        stop()

    handled = (signal.SIGINT, signal.SIGTERM)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield came
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
