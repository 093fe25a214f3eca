"""A thread for one owner, such as a video: it makes the owner's calls one after another."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from service.bounded_thread import NO_THREAD, START_SECONDS, BoundedThread

T = TypeVar("T")
StartThread = Callable[[BoundedThread], None]


class OwnThread(Executor):
    """Makes calls one after another on a thread of its own, which starts with the first one.

    Whoever has one must call `shutdown`: the thread waits for calls until then. The process does not end before it.

    Args:
        name: of the thread.
        start_thread: starts it.
    """

    def __init__(self, name: str, start_thread: StartThread = BoundedThread.start) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = BoundedThread(partial(_make_calls, self._calls), name, daemon=False)
        self._start_thread = start_thread
        self._has_started = self._closed = False
        self._last: Future[Any] | None = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **options: Any) -> "Future[T]":  # noqa: ANN401  # Executor's
        """Queue a call.

        Raises:
            RuntimeError: the system gives no further thread, or the thread has ended.
            MemoryError: there is no memory for a thread.
        """
        if self._closed:
            raise RuntimeError("its thread has ended")
        future: Future[T] = Future()
        if not self._has_started:
            self._start_thread(self._thread)
            self._has_started = True
        self._calls.put(_Call(future, partial(fn, *args, **options)))
        self._last = future
        return future

    @property
    def unfinished(self) -> "Future[Any] | None":
        """The last call, while it waits or is being made; it is done after all others."""
        return None if self._last is None or self._last.done() else self._last

    def give_up(self) -> None:
        """Fail all calls with a RuntimeError where the thread has not come to the first one; else do nothing."""
        if not self._thread.give_up():
            return
        self._closed = True
        with suppress(Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None and call.future.set_running_or_notify_cancel():
                    call.future.set_exception(RuntimeError(NO_THREAD))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # Executor's
        """Let the thread end after the calls that are queued; `wait` for that, if it begins in time."""
        self._closed = True
        self._calls.put(None)
        if wait:
            self._thread.wait_begun(START_SECONDS)
            if self._thread.is_alive():
                self._thread.join()


class _Call(NamedTuple):
    """What is called, and what will have its result."""

    future: "Future[Any]"
    function: Callable[[], Any]


def _make_calls(calls: "SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        _make(call)
        del call  # while the thread waits, it keeps nothing of it


def _make(call: _Call) -> None:
    if not call.future.set_running_or_notify_cancel():
        return
    try:
        call.future.set_result(call.function())
    except BaseException as error:  # noqa: BLE001  # the caller gets it
        call.future.set_exception(error)
        del call  # the error refers to this frame: the cycle would keep what the call has
