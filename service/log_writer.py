"""Writes log lines to a stream: those of requests many at once, all others at once."""

import logging
import threading
import time
from collections import deque
from typing import TextIO

WAIT_SECONDS = 0.05
"""How long the line of a request may wait for others. Each write lets another thread take the interpreter, which the
event loop then has to wait for: with a write for each line, LeNet-5 lost a tenth of its throughput."""
MOST_LINES = 4096
"""So many lines may wait; then whoever logs the next one writes them."""


class LogWriter(logging.Handler):
    """Writes the lines of one logger together, a moment later; a line of any other logger, or a warning, at once.

    Lines are written in the order in which they were logged. A process that is killed loses those of its last
    `WAIT_SECONDS`.

    Args:
        stream: what is written to.
        patient: the name of the logger whose lines may wait.
        seconds: how long they wait.
    """

    def __init__(self, stream: TextIO, patient: str, seconds: float = WAIT_SECONDS) -> None:
        super().__init__()
        self._stream = stream
        self._patient = patient
        self._seconds = seconds
        self._lines: deque[str] = deque()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._closed = False
        threading.Thread(target=self._write_later, name="foveal-log", daemon=True).start()

    def createLock(self) -> None:  # noqa: N802  # logging's name
        """Have no lock around `emit`: a deque needs none, and a stream that stalls would hold up the event loop."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            waits = record.name == self._patient and record.levelno < logging.WARNING
            if not waits or len(self._lines) >= MOST_LINES:
                self.flush()
            elif not self._some.is_set():
                self._some.set()
        except Exception:  # noqa: BLE001  # logging's rule: what is logged must not fail because of the log
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: the stream can not be written to; its lines are lost.
        """
        with self._writing:
            lines = []
            while self._lines:
                lines.append(self._lines.popleft())
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Write what waits, and end the thread that writes."""
        self._closed = True
        self._some.set()
        super().close()

    def _write_later(self) -> None:
        while not self._closed:
            self._some.wait()
            time.sleep(self._seconds)
            self._some.clear()
            try:
                self.flush()
            except (OSError, ValueError):  # a full disk, a closed pipe; the next lines may pass
                continue
