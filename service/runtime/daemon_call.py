"""Calls that may never return, such as the loading of a network: on threads that keep neither a loop nor a process."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def daemon_call(function: Callable[[], T], name: str) -> T:
    """Return what a blocking function returns, from a daemon thread of its own; see `begin_daemon_call`.

    Raises:
        RuntimeError: the thread was ended.
        Exception: what the function raises.
    """
    return await begin_daemon_call(function, name)


def begin_daemon_call(function: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Begin a blocking call on a daemon thread of its own, and return what will have its result or its error.

    `asyncio.to_thread` would keep the process from ending until the function has returned. When the future is canceled
    the thread goes on, and what it returns is dropped.

    Args:
        function: what to call.
        name: of the thread.
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

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
