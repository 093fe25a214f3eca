"""Writes log lines to a stream in a thread of its own: those of requests many at once, all others at once."""

import logging
import threading
from typing import Self, TextIO, cast

WAIT_SECONDS = 0.05
"""How long the line of a request may wait for others. Each write lets another thread take the interpreter, which the
event loop then has to wait for: with a write for each line, LeNet-5 lost a tenth of its throughput."""
MANY_LINES = 4096
"""So many lines wait for no others."""
MOST_CHARACTERS = 4 * 2**20
"""So much may wait while a write does not end; the lines after that are lost, and counted."""
FLUSH_SECONDS = 2.0
"""How long `flush` waits for a stream that nobody reads: a process must be able to end."""


class NoLock:
    """A lock that everyone gets at once. Python 3.13 enters a handler's lock without asking whether it has one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Hold nothing, so release nothing."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        """Hold nothing, so release nothing."""


class LogWriter(logging.Handler):
    """Writes the lines of one logger together, a moment later; a line of any other logger, or a warning, at once.

    Lines are written in the order in which they were logged. Whoever logs never waits for the stream: where nobody
    reads it, lines are kept up to `MOST_CHARACTERS`, and the next line that is written after them says how many were
    lost. A process that is killed loses those of its last `WAIT_SECONDS`.

    Args:
        stream: what is written to; nothing else may write to it, because its lock is held while a write stalls.
        patient: the name of the logger whose lines may wait.
        seconds: how long they wait.
        flush_seconds: how long `flush` waits.
    """

    def __init__(
        self,
        stream: TextIO,
        patient: str,
        seconds: float = WAIT_SECONDS,
        *,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        super().__init__()
        self._flush_seconds = flush_seconds
        self._stream = stream
        self._patient = patient
        self._seconds = seconds
        # Held for a few instructions, never during a write; reentrant, because a collected object may log.
        self._changing = threading.RLock()
        self._lines: list[str] = []
        self._characters = 0
        self._lost = 0
        self._flushes: list[threading.Event] = []
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_later, name="foveal-log", daemon=True)
        self._thread.start()

    def createLock(self) -> None:  # noqa: N802  # logging's name
        """Have no lock around `emit`: it has one that is never held while a line is formatted."""
        self.lock = cast("threading.RLock", NoLock())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  # logging's rule: what is logged must not fail because of the log
            self.handleError(record)
            return
        with self._changing:
            if self._characters + len(line) > MOST_CHARACTERS:
                self._lost += 1
                return
            self._lines.append(line)
            self._characters += len(line)
            many = len(self._lines) >= MANY_LINES
        if many or record.name != self._patient or record.levelno >= logging.WARNING:
            self._hurry.set()
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Wait until what waits is written, or has failed; at most some seconds."""
        if not self._thread.is_alive():
            return
        written = threading.Event()
        with self._changing:
            self._flushes.append(written)
        self._write_now()
        written.wait(self._flush_seconds)

    def close(self) -> None:
        """Let the thread write what waits, and end."""
        self._closed = True
        self._write_now()
        super().close()

    def _write_now(self) -> None:
        self._hurry.set()
        self._some.set()

    def _write_later(self) -> None:
        closed = False
        while not closed:
            self._some.wait()
            self._hurry.wait(self._seconds)
            self._some.clear()
            self._hurry.clear()
            closed = self._closed
            self._write()

    def _write(self) -> None:
        with self._changing:
            lines, self._lines = self._lines, []
            flushes, self._flushes = self._flushes, []
            self._characters = 0
            lost = self._lost
        if lost:
            lines.append(self._loss(lost))
        try:
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            with self._changing:
                self._lost -= lost
        except (OSError, ValueError):  # a full disk, a closed pipe; the next lines may pass
            pass
        finally:
            for written in flushes:
                written.set()

    def _loss(self, lines: int) -> str:
        message = "log lines that were lost because nobody read the log: %d"
        return self.format(
            logging.LogRecord(__name__, logging.WARNING, "", 0, message, (lines,), None)
        )
