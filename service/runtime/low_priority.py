"""Work beside the traffic: on a thread of its own, which gets the processor where no request wants it."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from service.bounded_thread import BoundedThread

T = TypeVar("T")

NICENESS = 10
"""Added to the process's own. Beside a request's thread the work gets a tenth of a core, and all of an idle one."""


class Calling(Protocol):
    """How a call is made: at once, or at a low priority."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


def at_once(call: Callable[[], T], /) -> T:
    """Return what a call returns."""
    return call()


class LowPriority:
    """Makes calls on a thread at a low priority; each blocks its caller until it has returned.

    A thread inherits the priority of the one that starts it, and no priority can be raised again: a call must start no
    thread that lives on. It should spend its time outside Python: while it waits for a core, nobody gets a lock that
    it holds. Where the system knows no priorities of threads, calls run at the priority of all others.

    The thread stays for the next call. With a thread for each call the C library spread the networks over its arenas,
    and the process grew by 60 MiB in fifty loads of 50 MiB. While a call runs, another one gets a thread of its own.
    """

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._has_thread = False

    def __call__(self, call: Callable[[], T], /) -> T:
        """Return what a call returns, or raise what it raises.

        Raises:
            RuntimeError: the system gives no thread for it.
        """
        order = _Order(call)
        if not self._free.acquire(blocking=False):
            _start(order.make)
            return order.outcome()  # type: ignore[no-any-return]
        try:
            if not self._has_thread:
                _start(partial(_follow, self._orders))
                self._has_thread = True
            self._orders.put(order)
            return order.outcome()  # type: ignore[no-any-return]
        finally:
            self._free.release()


class _Order:
    """A call for another thread. It keeps neither the call nor its outcome once the caller has that.

    The other thread may wait long for a core before it drops its last reference to this.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call: Callable[[], Any] | None = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._made = threading.Event()

    def make(self) -> None:
        """Make the call."""
        assert self._call is not None
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001  # the caller gets it
            self._error = error
        self._call = None
        self._made.set()

    def outcome(self) -> Any:  # noqa: ANN401  # what the call returns
        """Wait for the call; return what it has returned, or raise what it has raised."""
        self._made.wait()
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result


def _follow(orders: "SimpleQueue[_Order]") -> None:
    while True:
        orders.get().make()


def _start(work: Callable[[], None]) -> None:
    def run() -> None:
        _lower_priority()
        work()

    BoundedThread(run, "foveal-low-priority").start_and_wait()


def _lower_priority() -> None:
    if sys.platform != "linux":  # elsewhere a niceness is one of the whole process
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
