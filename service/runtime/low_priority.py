"""Work beside the traffic: on a thread of its own, which gets the processor where no request wants it."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

NICENESS = 10
"""Added to the process's own. Beside a request's thread the work gets a tenth of a core, and all of an idle one."""


class Calling(Protocol):
    """How a call is made: at once, or at a low priority."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


def at_once(call: Callable[[], T], /) -> T:
    """Return what a call returns."""
    return call()


def at_low_priority(call: Callable[[], T], /) -> T:
    """Return what a call returns, which runs on a thread of its own at a low priority; blocking.

    A thread inherits the priority of the one that starts it, and no priority can be raised again: the call must start
    no thread that lives on. It should spend its time outside Python: while it waits for a core, nobody gets a lock
    that it holds. Where the system knows no priorities of threads, the call runs at the priority of all others.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        _lower_priority()
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # the caller gets it
            errors.append(error)

    thread = threading.Thread(target=work, name="foveal-low-priority", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _lower_priority() -> None:
    if sys.platform != "linux":  # elsewhere a niceness is one of the whole process
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
