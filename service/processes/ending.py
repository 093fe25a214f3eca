"""The last resort at the end of a process: what does not end by itself is ended with it."""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable

from service.logs import LOGGER, flush_logs

log = logging.getLogger(LOGGER)

MARGIN_SECONDS = 15.0
"""How long a process may take to end beyond its grace and the deadlines of its requests."""

NETWORK_THREADS = ("foveal-worker", "foveal-load", "foveal-explainer")

_STDERR = 2

ExitProcess = Callable[[int], object]


class LastResort(threading.Thread):
    """Ends the process some time after `begin`, whatever still runs: a network, a decoder, a thread of a library.

    Args:
        seconds: from `begin` until the process is ended.
        exit_process: ends the process at once with an exit code.
    """

    def __init__(self, seconds: float, *, exit_process: ExitProcess = os._exit) -> None:
        super().__init__(name="foveal-last-resort", daemon=True)
        self._seconds = seconds
        self._exit_process = exit_process
        self._begun = threading.Event()
        self._never = threading.Event()

    def begin(self) -> None:
        """Count from now on; may be called by a signal handler, and more than once."""
        self._begun.set()

    def run(self) -> None:
        self._begun.wait()
        self._never.wait(self._seconds)
        log.error(
            "The process did not end within %g s and is ended without the rest.", self._seconds
        )
        flush()
        self._exit_process(1)


def stuck_threads() -> list[str]:
    """Return the names of the threads that are still in a network, or in the loading of one."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.daemon and thread.name.startswith(NETWORK_THREADS)
    ]


def trace_crashes() -> None:
    """Have a crash in a library write where it was to stderr: which line of Python called it."""
    faulthandler.enable(_STDERR, all_threads=False)


def flush() -> None:
    """Write out what the log still holds, before the process is ended without Python's own end."""
    flush_logs()
    sys.stdout.flush()
    sys.stderr.flush()
