"""A decoder process as the service sees it: started, given one image at a time, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from service.imaging.isolated.messages import REPLY, Reply, Request

PROGRAM = "service.imaging.isolated.process"
"""The module that a decoder process runs."""
START_SECONDS = 60.0
END_SECONDS = 1.0
"""How long a process may take to end after it has closed its socket."""
SILENT_SECONDS = 1.0
"""After so long without a byte from a process the service looks whether somebody has stopped it."""
NO_MEMORY_CODE = 77
"""The exit code of a process that may not have the memory that its image needs."""

CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
"""The signals that a process gets for what its own code does."""

_PASSED_ON = ("LD_LIBRARY_PATH", "LANG", "LC_ALL")


class EndedError(Exception):
    """The process ended before its reply did. `code` is its exit code, or the negative number of a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the decoder process ended with {code}")
        self.code = code

    @property
    def by(self) -> str:
        """What ended it: the name of a signal, or its exit code."""
        if -self.code in set(signal.Signals):
            return signal.Signals(-self.code).name
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"

    @property
    def is_crash(self) -> bool:
        """Whether the process ended by what its own code did."""
        return -self.code in CRASHES


class StoppedError(TimeoutError):
    """Somebody has stopped the process (SIGSTOP), so that no reply comes."""

    def __init__(self) -> None:
        super().__init__("the decoder process was stopped")


class DecoderProcess:
    """One process. It has this service's code, one socket to it, and no other files.

    Of the environment it has only what finds libraries and sets the language, with what its own libraries need.

    Args:
        program: the module that it runs.
        memory_bytes: what it may take beyond the memory that it starts with.
        clock: the clock of the deadlines, in seconds.
        end_seconds: how long it may take to end after its socket is closed.
    """

    def __init__(
        self,
        program: str,
        memory_bytes: int,
        clock: Callable[[], float],
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._clock = clock
        self._end_seconds = end_seconds
        self._socket, theirs = socket.socketpair()
        arguments = [str(memory_bytes), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # this program's own module
                [sys.executable, "-P", "-m", program, *arguments],
                env=_environment(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C in a terminal is for the service
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended, although nobody has ended it."""
        return self._process.poll() is not None

    def wait_until_ready(self) -> None:
        """Wait for the first word of a new process.

        Raises:
            EndedError: it ended before.
            StoppedError: it was stopped.
            TimeoutError: it did not come.
        """
        kind, _, _ = self.reply(self._clock() + START_SECONDS)
        if kind != Reply.READY:
            raise EndedError(0)

    def send(self, request: Request, until: float) -> None:
        """Send a request.

        Raises:
            EndedError, StoppedError, TimeoutError: as `receive` does.
        """
        self.send_parts((request.head(), request.body), until)

    def send_parts(self, parts: Iterable[bytes], until: float) -> None:
        """Send bytes.

        Raises:
            EndedError, StoppedError, TimeoutError: as `receive` does.
        """
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[self._moved(until, partial(self._socket.send, left)) :]

    def reply(self, until: float) -> tuple[int, int, int]:
        """Return the kind of the next reply and its two numbers; see `receive`."""
        head = bytearray(REPLY.size)
        self.receive(memoryview(head), until)
        kind, first, second = REPLY.unpack(head)
        return kind, first, second

    def receive(self, buffer: memoryview, until: float) -> None:
        """Fill a buffer with what the process sends.

        Raises:
            EndedError: the process ended before.
            StoppedError: the process was stopped.
            TimeoutError: the clock reached `until` before.
        """
        while buffer:
            count = self._moved(until, partial(self._socket.recv_into, buffer))
            if not count:
                raise EndedError(self.end())
            buffer = buffer[count:]

    def _moved(self, until: float, call: Callable[[], int]) -> int:
        """Send or receive some bytes, and return how many.

        The thread of a batch waits here, perhaps the only one: that a process was stopped is found long before `until`.
        """
        left = self._left(until)
        while True:
            self._socket.settimeout(min(left, SILENT_SECONDS))
            try:
                return call()
            except TimeoutError:
                if self._is_stopped():
                    raise StoppedError from None
                left -= SILENT_SECONDS
                if left <= 0:
                    raise
            except OSError as error:
                raise EndedError(self.end()) from error

    def _is_stopped(self) -> bool:
        with contextlib.suppress(OSError):  # it has ended
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state in {"T", "t"}
        return False

    def end(self) -> int:
        """Kill it, if it has not ended, and return its exit code, or the negative number of its signal."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._end_seconds)
        self._process.kill()
        return self._process.wait()

    def interrupt(self) -> None:
        """Kill it, whatever thread sends or receives: that one finds that it has ended."""
        self._process.kill()

    def kill(self) -> None:
        """Kill it at once."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


def _environment() -> dict[str, str]:
    """Return an environment without what is secret in this one, such as the password of a certificate."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONWARNINGS": "ignore",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
