"""Threads that are there before there is load: to start one takes memory, and Python waits for its first step.

Where a thread is made and has no memory for that step, `Thread.start` waits for ever. On the event loop nothing would
be answered any more.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress

MOST_DEFAULT_THREADS = 32
"""Of the pool behind `asyncio.to_thread`, which has four more than there are cores, up to so many."""


def start_threads(submit: Callable[[Callable[[], object]], object], count: int) -> None:
    """Have a pool of threads start so many of them; where the system gives fewer, it starts those.

    Args:
        submit: queues a call for the pool, which starts a thread for it as long as none is idle and it has fewer than
            its most.
        count: how many threads it has at most.
    """
    gate = threading.Event()
    try:
        with suppress(RuntimeError, MemoryError):
            for _ in range(count):
                submit(gate.wait)
    finally:
        gate.set()


def start_default_threads() -> None:
    """Start the threads behind `asyncio.to_thread`; called on the event loop."""
    loop = asyncio.get_running_loop()
    count = min(MOST_DEFAULT_THREADS, (os.cpu_count() or 1) + 4)
    start_threads(lambda call: loop.run_in_executor(None, call), count)
