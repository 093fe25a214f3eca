"""A body that is read as a file while it still arrives: the event loop fills it, a decoding thread reads it."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from functools import partial

STARVED_SECONDS = 0.5
"""A reader that has waited so long for `BEGUN_BYTES` more has nothing to do."""
BEGUN_BYTES = 64 * 1024
"""So much of a file has arrived, or all of it, when the work on it begins."""


class GrowingFile:
    """A file in memory that grows until it is finished.

    `feed` and `finish` are for the event loop and never wait. `read` and `seek` are for one other thread. They wait for
    bytes that have not arrived: a video whose header is at its end is readable once its end has arrived.

    Args:
        length: the announced size in bytes, None if there is none.
        patience_seconds: how long a reader waits for the next byte; after that the file ends where it is.
        starved_seconds: how long it may wait for `BEGUN_BYTES` before `when_starved` says so.
    """

    def __init__(
        self,
        length: int | None,
        patience_seconds: float,
        starved_seconds: float = STARVED_SECONDS,
    ) -> None:
        self._bytes = bytearray()
        self._length = length
        self._patience = patience_seconds
        self._position = 0
        self._finished = False
        self._has_begun = asyncio.Event()
        self._starved_seconds = starved_seconds
        self._waited = 0.0
        self._counted_from = 0
        self._on_starved: Callable[[], object] | None = None
        self._arrived = threading.Condition()

    def feed(self, chunk: bytes) -> None:
        """Append bytes."""
        with self._arrived:
            self._bytes += chunk
            self._arrived.notify_all()
        if len(self._bytes) >= BEGUN_BYTES:
            self._has_begun.set()

    def finish(self) -> None:
        """End the file where it is: readers no longer wait."""
        with self._arrived:
            self._finished = True
            self._arrived.notify_all()
        self._has_begun.set()

    async def begun(self) -> None:
        """Wait on the event loop until there is something to do: `BEGUN_BYTES`, or the whole file."""
        await self._has_begun.wait()

    def when_starved(self, call: Callable[[], None] | None) -> None:
        """Call a function on the running event loop whenever the reader waits for bytes in vain; None: stop."""
        loop = asyncio.get_running_loop()
        with self._arrived:
            self._on_starved = None if call is None else partial(loop.call_soon_threadsafe, call)

    @property
    def size(self) -> int:
        """How many bytes have arrived."""
        return len(self._bytes)

    @property
    def expected(self) -> int:
        """How many bytes will have arrived, where that is announced; else how many have."""
        return self.size if self._length is None or self._finished else self._length

    def head(self, size: int) -> bytes:
        """Return the first bytes that have arrived, up to `size`; it never waits."""
        with self._arrived:
            return bytes(self._bytes[:size])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return 1 to `size` bytes, none at the end; with a negative size, all bytes until the end."""
        with self._arrived:
            wanted = None if size < 0 else self._position + 1
            self._wait_for(wanted)
            end = len(self._bytes) if size < 0 else self._position + size
            chunk = bytes(memoryview(self._bytes)[self._position : end])
            self._position += len(chunk)
            return chunk

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, which may be beyond what has arrived; return the new position."""
        with self._arrived:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
            if base is None:
                base = self._end()
            self._position = max(0, base + offset)
            return self._position

    def _end(self) -> int:
        """The announced length serves until the real one is known, because a demuxer asks for it before it reads."""
        if self._length is None or self._finished:
            self._wait_for(None)
            return len(self._bytes)
        return self._length

    def _wait_for(self, size: int | None) -> None:
        """Wait until so many bytes have arrived, None for all; end the file when none arrives for too long."""
        while not self._finished and (size is None or len(self._bytes) < size):
            allowed = max(0.0, self._starved_seconds - self._waited)
            if self._on_starved is None or allowed >= self._patience:
                if not self._arrived.wait(self._patience):
                    self._finished = True
            elif not self._wait_counted(allowed):
                self._waited = 0.0
                self._counted_from = len(self._bytes)
                self._on_starved()
                if not self._arrived.wait(self._patience):
                    self._finished = True

    def _wait_counted(self, seconds: float) -> bool:
        """Wait for bytes and count the time; return whether some came before so many seconds had passed."""
        began = time.perf_counter()
        came = self._arrived.wait(seconds)
        self._waited += time.perf_counter() - began
        if len(self._bytes) - self._counted_from >= BEGUN_BYTES:
            self._waited = 0.0
            self._counted_from = len(self._bytes)
        return came
