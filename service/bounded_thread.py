"""Threads whose start nobody waits for without end.

To start a thread takes memory, and so does its first step. Where there is memory for the thread and not for that step,
`threading.Thread.start` waits for ever: the thread has ended, and its caller, such as the event loop, is lost.
"""

import threading
import time
from collections.abc import Callable

NO_THREAD = "can't start new thread"
"""What Python says where the system gives a process no further thread."""

START_SECONDS = 10.0
"""How long a thread may take to its first step: on a busy machine that is a tenth of a second."""


class BoundedThread(threading.Thread):
    """A thread that does its work soon or never; `start` does not wait for it.

    Args:
        work: what it does.
        name: of the thread.
        daemon: whether the process may end while it works.
        clock: counts seconds.
    """

    def __init__(
        self,
        work: Callable[[], None],
        name: str,
        *,
        daemon: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        # `Thread.start` waits for this event, which the thread sets in its first step. Nothing public bounds the wait.
        self._started = _Begun()
        self._work: Callable[[], None] | None = work
        self._taking = threading.Lock()
        self._clock = clock
        self._since: float | None = None

    def start(self) -> None:
        """Have the system start the thread, and return at once.

        Raises:
            RuntimeError: the system gives no further thread.
            MemoryError: there is no memory for it.
        """
        super().start()
        self._since = self._clock()

    def start_and_wait(self, seconds: float = START_SECONDS) -> None:
        """Start the thread, and wait for its first step; blocking.

        Raises:
            RuntimeError: the system gives no further thread, or it did not come to its first step in time.
            MemoryError: there is no memory for it.
        """
        self.start()
        self.wait_begun(seconds)
        if self.give_up() and not self._started.is_set():
            raise RuntimeError(NO_THREAD)

    def wait_begun(self, seconds: float) -> None:
        """Wait for the first step of a thread that was started, so many seconds at most; blocking."""
        if self._since is not None:
            self._started.wait(seconds)

    def is_there(self) -> bool:
        """Return whether it works, or was started so shortly ago that it may still come to that."""
        if self.is_alive():
            return True
        coming = self._since is not None and not self._started.is_set()
        return coming and self._clock() - (self._since or 0.0) < START_SECONDS

    def give_up(self) -> bool:
        """Let the work not begin any more; return False where it is being done."""
        return self._taken() is not None or not self.is_alive()

    def run(self) -> None:
        work = self._taken()
        if work is not None:
            work()

    def _taken(self) -> Callable[[], None] | None:
        with self._taking:
            work, self._work = self._work, None
            return work


class _Begun(threading.Event):
    """Whether a thread has come to its first step; to wait for that without a time returns at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0 if timeout is None else timeout)
