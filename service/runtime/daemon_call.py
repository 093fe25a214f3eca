"""Calls that may never return, such as the loading of a network: on threads that keep neither a loop nor a process."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from service.bounded_thread import NO_THREAD, START_SECONDS, BoundedThread

T = TypeVar("T")


async def daemon_call(
    function: Callable[[], T],
    name: str,
    *,
    start_thread: Callable[[BoundedThread], None] = BoundedThread.start,
    start_seconds: float = START_SECONDS,
) -> T:
    """Return what a blocking function returns, from a daemon thread of its own; see `begin_daemon_call`.

    Raises:
        RuntimeError: the thread was ended, the system gives none, or it did not begin in time.
        MemoryError: there is no memory for a thread.
        Exception: what the function raises.
    """
    return await begin_daemon_call(
        function, name, start_thread=start_thread, start_seconds=start_seconds
    )


def begin_daemon_call(
    function: Callable[[], T],
    name: str,
    *,
    start_thread: Callable[[BoundedThread], None] = BoundedThread.start,
    start_seconds: float = START_SECONDS,
) -> "asyncio.Future[T]":
    """Begin a blocking call on a daemon thread of its own, and return what will have its result or its error.

    `asyncio.to_thread` would keep the process from ending until the function has returned. When the future is canceled
    the thread goes on, and what it returns is dropped. A thread that does not begin in time gives a RuntimeError.

    Args:
        function: what to call.
        name: of the thread.
        start_thread: starts it.
        start_seconds: how long it may take to begin.

    Raises:
        RuntimeError: the system gives no further thread.
        MemoryError: there is no memory for a thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            future.set_exception(error)
        else:
            future.set_exception(RuntimeError(f"its thread was ended by {type(error).__name__}"))

    def give_up(thread: BoundedThread) -> None:
        if thread.give_up():
            deliver(None, RuntimeError(NO_THREAD))

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001  # the caller gets it
            error = raised
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:  # the loop was closed meanwhile
            return

    thread = BoundedThread(work, name)
    start_thread(thread)
    late = loop.call_later(start_seconds, give_up, thread)
    future.add_done_callback(lambda _: late.cancel())
    return future
