"""A worker process as the supervisor sees it: what it sends, whether it still answers, and how it ended."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from service.processes.slot import WorkerSlot

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
ARE_YOU_ALIVE = 0
"""In place of a signal's number, as for `kill`."""
_SPAWN = multiprocessing.get_context("spawn")  # ONNX Runtime's threads do not survive a fork


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker's message: each of its models is loaded or has failed. `summary` is for the log.

    `took_bytes` is the most memory that it has held until then; 0: the system does not say.
    """

    summary: str
    took_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker's message: it can not start with these settings."""

    reason: str


@dataclass(frozen=True, slots=True)
class Alive:
    """A worker's answer to `ARE_YOU_ALIVE`."""


Work = Callable[[socket.socket, WorkerSlot, Connection], None]
"""A worker's main function, one that can be pickled.

It serves the socket, sends `Loaded` or `Refused` through the pipe, receives the numbers of signals from it, answers
`ARE_YOU_ALIVE` with `Alive`, and ends when the pipe is closed.
"""


class Child:
    """The process in a slot.

    Attributes:
        ended: gets its exit code after its last message was handled.
        settled: is set when its models are loaded, or it has ended.
        pid: of the process.
        refused: why it can not start with these settings; empty where it can.
        has_answered: whether it has sent `Alive` at least once. Before, it may still be loading libraries.
        end: why it was killed; empty where it was not.
    """

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
        self.settled = asyncio.Event()
        self.loaded_at: float | None = None
        self.has_answered = False
        self.end = ""
        self._silent_rounds = 0
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

    def go_on(self) -> None:
        """Let it go on where it was stopped: a stopped process reads no number of a signal."""
        if self.pid is not None and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def ask(self) -> int:
        """Ask whether it is alive, unless it still owes an answer; return how many rounds it has owed one."""
        self._silent_rounds += 1
        if self._silent_rounds == 1:
            self.relay(ARE_YOU_ALIVE)
        return self._silent_rounds - 1

    def kill(self, reason: str) -> None:
        """End it at once, also where it is stopped; `end` is the reason, to be read after its name."""
        if not self.ended.done():
            self.end = reason
            self._process.kill()

    def _on_message(self) -> None:
        try:
            self._handle(self._pipe.recv())
        except (EOFError, OSError):
            self._loop.remove_reader(self._pipe.fileno())

    def _handle(self, message: Loaded | Refused | Alive) -> None:
        if isinstance(message, Alive):
            self.has_answered, self._silent_rounds = True, 0
        elif isinstance(message, Refused):
            self.refused = message.reason
        else:
            self.loaded_at = time.monotonic()
            self.settled.set()
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
        self.settled.set()
        self.ended.set_result(code)
