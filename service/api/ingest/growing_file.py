"""A body that is read as a file while it is still arriving: the network fills it, a decoding thread empties it."""

import os
import threading


class GrowingFile:
    """A growing file in memory.

    `feed` and `finish` are called on the event loop and never wait. Reading and seeking are for one other thread: they
    wait for bytes that have not arrived, so that whoever reads a header at the file's end waits for that end.

    Args:
        length: how long the body says it will be, None if it does not.
        patience_seconds: how long a reader waits for the next byte before the body counts as cut short.
    """

    def __init__(self, length: int | None, patience_seconds: float) -> None:
        self._bytes = bytearray()
        self._length = length
        self._patience = patience_seconds
        self._position = 0
        self._finished = False
        self._arrived = threading.Condition()

    def feed(self, chunk: bytes) -> None:
        with self._arrived:
            self._bytes += chunk
            self._arrived.notify_all()

    def finish(self) -> None:
        """Say that nothing more will come."""
        with self._arrived:
            self._finished = True
            self._arrived.notify_all()

    @property
    def received(self) -> int:
        return len(self._bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self._arrived:
            wanted = None if size < 0 else self._position + 1
            self._wait_for(wanted)
            end = len(self._bytes) if size < 0 else self._position + size
            chunk = bytes(memoryview(self._bytes)[self._position : end])
            self._position += len(chunk)
            return chunk

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._arrived:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
            if base is None:
                base = self._end()
            self._position = max(0, base + offset)
            return self._position

    def _end(self) -> int:
        """The announced length serves until the real one is known: a demuxer asks for it before it reads."""
        if self._length is None or self._finished:
            self._wait_for(None)
            return len(self._bytes)
        return self._length

    def _wait_for(self, size: int | None) -> None:
        """Wait until so many bytes are there, None for all of them; give up when none has come for too long."""
        while not self._finished and (size is None or len(self._bytes) < size):
            before = len(self._bytes)
            self._arrived.wait(self._patience)
            if len(self._bytes) == before and not self._finished:
                self._finished = True
