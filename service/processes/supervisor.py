"""Several processes on one socket: started, watched, begun anew when one dies, and ended together."""

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
from service.processes.peers import Tally, WorkerSlot

log = logging.getLogger(LOGGER)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SPAWN = multiprocessing.get_context("spawn")  # ONNX Runtime's threads do not survive a fork


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker's word that its models were loaded or have failed; `summary` says what it serves."""

    summary: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker's word that it can not start as asked."""

    reason: str


Work = Callable[[socket.socket, WorkerSlot, Connection], None]
"""A worker's main function, which pickle must know: serves the socket, sends `Loaded` or `Refused`, receives signals'
numbers, and ends when the line does."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a place is filled again, and how soon.

    The pause doubles with each death of a worker that had not served for `stable_seconds`; after `starts` in a row that
    came to nothing the service gives up.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    stable_seconds: float = 60.0
    starts: int = 5

    def pause_seconds(self, deaths: int) -> float:
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (deaths - 1))


class Supervisor:
    """Keeps `count` workers on one socket until it is told to end.

    SIGTERM and SIGINT are handed on to every worker, which ends as a service of one process does. Workers have both
    blocked: a terminal sends Ctrl+C and systemd its SIGTERM to them as well, and the second would cut the grace short.
    """

    def __init__(
        self,
        work: Work,
        listener: socket.socket,
        count: int,
        *,
        on_loaded: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self._work = work
        self._listener = listener
        self._count = count
        self._on_loaded = on_loaded
        self._patience = patience or Patience()
        self._children: dict[int, _Child] = {}
        self._loaded: set[int] = set()
        self._announced = False
        self._ending = asyncio.Event()
        self._codes: set[int] = set()

    def run(self) -> int:
        """Return the exit code: 0 when it was told to end and every worker ended well.

        Raises:
            ConfigurationError: the workers can not start as asked, or die again and again before they are ready.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._end, number)
        # The tracker's own start would unblock the signals that `_Child` blocks for its process.
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
        """Have a worker in this place for as long as the service lasts."""
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
            Tally(slot).vacate()
            deaths = 1 if child.served_seconds() > self._patience.stable_seconds else deaths + 1
            failed_starts = 0 if child.loaded_at else failed_starts + 1
            how = child.refused or _describe_end(code)
            if (child.refused and not self._announced) or failed_starts == self._patience.starts:
                raise ConfigurationError(
                    how
                    if child.refused
                    else f"{slot.name} failed to start {failed_starts} times; the last {how}."
                )
            pause = self._patience.pause_seconds(deaths)
            log.error(
                "%s (pid %d) %s; the next one starts in %g s", slot.name, child.pid, how, pause
            )
            await self._pause(pause)
            slot = WorkerSlot(slot.folder, slot.index, slot.count, refilled=True)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    def _on_loaded_child(self, slot: WorkerSlot, word: Loaded) -> None:
        self._loaded.add(slot.index)
        if slot.refilled:
            log.info("%s serves again", slot.name)
        if len(self._loaded) == self._count and not self._announced:
            self._announced = True
            self._on_loaded(word.summary)

    def _end(self, number: int) -> None:
        self._ending.set()
        self._listener.close()  # else it would accept for nobody when the last worker has closed its own
        for child in self._children.values():
            child.order(number)


class _Child:
    """A process in a place: `ended` is done with its exit code, after its last word was heard."""

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
        self._line, theirs = _SPAWN.Pipe()
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
        self._loop.add_reader(self._line.fileno(), self._on_word)
        self._loop.add_reader(self._process.sentinel, self._on_end)

    def served_seconds(self) -> float:
        return 0.0 if self.loaded_at is None else time.monotonic() - self.loaded_at

    def order(self, number: int) -> None:
        with contextlib.suppress(OSError):  # it is dead already
            self._line.send(int(number))

    def _on_word(self) -> None:
        try:
            self._hear(self._line.recv())
        except (EOFError, OSError):
            self._loop.remove_reader(self._line.fileno())

    def _hear(self, word: Loaded | Refused) -> None:
        if isinstance(word, Refused):
            self.refused = word.reason
        else:
            self.loaded_at = time.monotonic()
            self._on_loaded(self._slot, word)

    def _on_end(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._loop.remove_reader(self._line.fileno())
        with contextlib.suppress(EOFError, OSError):
            while self._line.poll():
                self._hear(self._line.recv())
        self._process.join()
        self._line.close()
        code = self._process.exitcode
        self._process.close()
        assert code is not None
        self.ended.set_result(code)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    hint = ", which the kernel sends where memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
