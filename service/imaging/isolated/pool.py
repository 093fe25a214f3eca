"""The decoder processes of a service: a fixed number of them, each replaced when it ends."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from service.errors import DeadlineError, ShuttingDownError
from service.imaging.isolated.child import PROGRAM, DecoderProcess
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

RETRY_SECONDS = 1.0

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They are for the service, which ends its decoders after its last image; systemd sends them to every process."""


OpenProcess = Callable[[str, int, Callable[[], float]], DecoderProcess]
"""Starts a process: the module that it runs, the memory that it may take, and the clock of the deadlines."""


class DecoderPool:
    """Lends its processes, each to one thread at a time.

    One thread of it starts all processes and lives as long as they: they end when the thread that started them does.

    Args:
        count: how many processes.
        memory_bytes: what each may take beyond the memory that it starts with.
        program: the module that they run.
        clock: the clock of the deadlines, in seconds.
        on_end: called with the reason whenever a process has ended before the service.
        open_process: starts one.
    """

    def __init__(
        self,
        count: int,
        memory_bytes: int,
        *,
        on_end: Callable[[str], None],
        program: str = PROGRAM,
        clock: Callable[[], float] = time.perf_counter,
        open_process: OpenProcess = DecoderProcess,
    ) -> None:
        self._start_one = partial(open_process, program, memory_bytes, clock)
        self._clock = clock
        self._on_end = on_end
        self._missing = count
        self._failure = ""
        self._has_started = False
        self._idle: list[DecoderProcess] = []
        self._all: set[DecoderProcess] = set()
        self._closed = False
        lock = threading.RLock()
        # Apart, so that a process which is given back wakes a thread that waits for it and not the one that starts all.
        self._changed, self._freed = threading.Condition(lock), threading.Condition(lock)
        self._thread = threading.Thread(target=self._keep, name="foveal-decoders", daemon=True)

    @property
    def pids(self) -> list[int]:
        """The pids of all processes."""
        with self._changed:
            return [process.pid for process in self._all]

    def start(self) -> None:
        """Begin to start the processes; `take` waits for the first one."""
        self._thread.start()

    def not_ready(self) -> str:
        """Return why no process can be lent; empty where that is only a matter of time."""
        if self._failure:
            return f"the decoder processes can not start: {self._failure}"
        return "" if self._has_started else "the decoder processes start"

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            self._closed = True
            processes = tuple(self._all)
            self._changed.notify_all()
            self._freed.notify_all()
        for process in processes:
            process.kill()
        if self._thread.is_alive():
            self._thread.join()

    def take(self, until: float) -> DecoderProcess:
        """Wait for a process, and have it until it is given back or discarded.

        Raises:
            DeadlineError: there was none before the clock reached `until`.
            ShuttingDownError: the pool was closed.
        """
        while True:
            with self._changed:
                while not self._idle:
                    if self._closed:
                        raise ShuttingDownError("The service is shutting down.")
                    left = until - self._clock()
                    if left <= 0:
                        raise DeadlineError("No decoder was free before the deadline.")
                    self._freed.wait(min(left, threading.TIMEOUT_MAX))
                process = self._idle.pop()
            if not process.ended:
                return process
            self.discard(process, "killed")

    def give_back(self, process: DecoderProcess) -> None:
        """Lend the process to others from now on."""
        with self._changed:
            self._idle.append(process)
            self._freed.notify()

    def discard(self, process: DecoderProcess, reason: str) -> None:
        """End the process, count it, and start another one."""
        process.kill()
        with self._changed:
            self._all.discard(process)
            self._missing += 1
            is_closed = self._closed
            self._changed.notify_all()
        if not is_closed:
            self._on_end(reason)

    def _keep(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # which the processes inherit
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._missing)
                if self._closed:
                    return
            try:
                self._start()
            except BaseException as error:  # noqa: BLE001  # all processes end with this thread
                self._fail(error)

    def _start(self) -> None:
        process = self._start_one()
        with self._changed:
            self._all.add(process)
            is_closed = self._closed
        if is_closed:
            process.kill()
            return
        try:
            process.wait_until_ready()
        except BaseException:
            with self._changed:
                self._all.discard(process)
            process.kill()
            raise
        with self._changed:
            self._failure, self._has_started = "", True
            self._missing -= 1
            self._idle.append(process)
            self._freed.notify()

    def _fail(self, error: BaseException) -> None:
        """Try again a little later; the log says it once."""
        with self._changed:
            if self._closed:
                return
            if not self._failure:
                log.error("No decoder process can be started: %s", error)
            self._failure = str(error) or type(error).__name__
            self._changed.wait_for(lambda: self._closed, RETRY_SECONDS)
