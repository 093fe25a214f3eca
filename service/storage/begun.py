"""Blocking calls on threads of their own, which keep no process from ending."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from service.bounded_thread import BoundedThread

T = TypeVar("T")


def begun(function: Callable[[], T]) -> "Future[T]":
    """Begin a blocking call on a daemon thread, and return what will have its result or its error.

    Raises:
        RuntimeError: the system gives no thread for it.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # the caller gets it
            future.set_exception(error)

    BoundedThread(work, "foveal-storage").start_and_wait()
    return future


def within(seconds: float, function: Callable[[], T]) -> T:
    """Return what a blocking function returns; after the time it is left to itself.

    Raises:
        TimeoutError: the time is over.
        Exception: what the function raises.
    """
    return begun(function).result(seconds)
