"""Several processes on one socket: started, watched, replaced when they die, and ended together."""

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from service.errors import ConfigurationError
from service.logs import LOGGER
from service.processes.connection_counts import ConnectionCounts
from service.processes.slot import WorkerSlot

log = logging.getLogger(LOGGER)

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_SPAWN = multiprocessing.get_context("spawn")  # ONNX Runtime's threads do not survive a fork


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker's message: each of its models is loaded or has failed. `summary` is for the log."""

    summary: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker's message: it can not start with these settings."""

    reason: str


Work = Callable[[socket.socket, WorkerSlot, Connection], None]
"""A worker's main function, one that can be pickled.

It serves the socket, sends `Loaded` or `Refused` through the pipe, receives the numbers of signals from it, and ends
when the pipe is closed.
"""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a worker that died is replaced.

    The pause doubles with each death of a worker that had not served for `stable_seconds`. The service ends after
    `starts` workers of one slot in a row that died before their models were loaded.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    stable_seconds: float = 60.0
    starts: int = 5

    def pause_seconds(self, deaths: int) -> float:
        """Return the pause after so many deaths in a row, one or more."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (deaths - 1))


class Supervisor:
    """Keeps `count` workers on one socket until SIGTERM, SIGHUP or SIGINT.

    It relays the signals to every worker, which ends as a service of one process does. Workers have these signals
    blocked: a terminal sends Ctrl+C, and systemd its SIGTERM, to the workers too, and a second signal would skip the
    grace.

    Args:
        work: the workers' main function.
        listener: the socket that they share.
        count: how many workers there are.
        on_loaded: called once with a worker's summary, when the models of all workers are loaded.
        restarts: when a worker that died is replaced.
    """

    def __init__(
        self,
        work: Work,
        listener: socket.socket,
        count: int,
        *,
        on_loaded: Callable[[str], None],
        restarts: RestartPolicy | None = None,
    ) -> None:
        self._work = work
        self._listener = listener
        self._count = count
        self._on_loaded = on_loaded
        self._restarts = restarts or RestartPolicy()
        self._children: dict[int, _Child] = {}
        self._loaded: set[int] = set()
        self._announced = False
        self._ending = asyncio.Event()
        self._codes: set[int] = set()

    def run(self) -> int:
        """Return the exit code when a signal has ended the service: 0 where every worker exited with 0.

        Raises:
            ConfigurationError: the workers can not start with these settings, or die repeatedly before they are ready.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup makes SIGHUP
                loop.add_signal_handler(number, self._end, number)
        # Started now, because its own start would unblock the signals that `_Child` blocks for its process.
        resource_tracker.ensure_running()
        with tempfile.TemporaryDirectory(prefix="foveal-", ignore_cleanup_errors=True) as folder:
            keepers = [
                asyncio.create_task(self._keep(WorkerSlot(Path(folder), index, self._count)))
                for index in range(self._count)
            ]
            try:
                await asyncio.gather(*keepers)
            except ConfigurationError:
                self._end(signal.SIGTERM if self._announced else signal.SIGINT)
                await asyncio.gather(*keepers, return_exceptions=True)
                raise
        return 0 if self._codes <= {0} else 1

    async def _keep(self, slot: WorkerSlot) -> None:
        """Keep a worker in this slot until the service ends."""
        deaths = failed_starts = 0
        while not self._ending.is_set():
            child = _Child(self._work, self._listener, slot, self._on_loaded_child)
            self._children[slot.index] = child
            log.debug("%s has pid %d", slot.name, child.pid)
            code = await child.ended
            del self._children[slot.index]
            if self._ending.is_set():
                self._codes.add(code)
                return
            ConnectionCounts(slot).vacate()
            deaths = 1 if child.served_seconds() > self._restarts.stable_seconds else deaths + 1
            failed_starts = 0 if child.loaded_at else failed_starts + 1
            how = child.refused or _describe_end(code)
            if (child.refused and not self._announced) or failed_starts == self._restarts.starts:
                raise ConfigurationError(
                    how
                    if child.refused
                    else f"{slot.name} failed to start {failed_starts} times; the last {how}."
                )
            pause = self._restarts.pause_seconds(deaths)
            log.error(
                "%s (pid %d) %s; the next one starts in %g s", slot.name, child.pid, how, pause
            )
            await self._pause(pause)
            slot = WorkerSlot(slot.folder, slot.index, slot.count, refilled=True)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    def _on_loaded_child(self, slot: WorkerSlot, message: Loaded) -> None:
        self._loaded.add(slot.index)
        if slot.refilled:
            log.info("%s serves again", slot.name)
        if len(self._loaded) == self._count and not self._announced:
            self._announced = True
            self._on_loaded(message.summary)

    def _end(self, number: int) -> None:
        self._ending.set()
        self._listener.close()  # or the kernel would accept connections after the last worker has closed its own
        for child in self._children.values():
            child.relay(number)


class _Child:
    """The process in a slot. The future `ended` gets its exit code after its last message was handled."""

    def __init__(
        self,
        work: Work,
        listener: socket.socket,
        slot: WorkerSlot,
        on_loaded: Callable[[WorkerSlot, Loaded], None],
    ) -> None:
        self._slot = slot
        self._on_loaded = on_loaded
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self.loaded_at: float | None = None
        self.refused = ""
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=work, args=(listener, slot, theirs), name=f"foveal-{slot.name}"
        )
        former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which the process inherits
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()
        self.pid = self._process.pid
        self._loop.add_reader(self._pipe.fileno(), self._on_message)
        self._loop.add_reader(self._process.sentinel, self._on_end)

    def served_seconds(self) -> float:
        """Return how long its models have been loaded."""
        return 0.0 if self.loaded_at is None else time.monotonic() - self.loaded_at

    def relay(self, number: int) -> None:
        """Send it the number of a signal."""
        with contextlib.suppress(OSError):  # the process is dead
            self._pipe.send(int(number))

    def _on_message(self) -> None:
        try:
            self._handle(self._pipe.recv())
        except (EOFError, OSError):
            self._loop.remove_reader(self._pipe.fileno())

    def _handle(self, message: Loaded | Refused) -> None:
        if isinstance(message, Refused):
            self.refused = message.reason
        else:
            self.loaded_at = time.monotonic()
            self._on_loaded(self._slot, message)

    def _on_end(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._loop.remove_reader(self._pipe.fileno())
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                self._handle(self._pipe.recv())
        self._process.join()
        self._pipe.close()
        code = self._process.exitcode
        self._process.close()
        assert code is not None
        self.ended.set_result(code)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    hint = ", which the kernel sends when memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
