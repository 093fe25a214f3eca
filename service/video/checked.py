"""A source whose bytes are checked before FFmpeg gets them, so that what it would pay too much for never reaches it."""

from typing import Protocol

from service.errors import VideoError
from service.video.source import Source


class Check(Protocol):
    """Looks at the bytes that are about to be given to FFmpeg."""

    def check(self, at: int, chunk: bytes, /) -> None:
        """Raise a `VideoError` if they, with what was there before, cost too much."""
        ...


class CheckedSource:
    """A source that reads as another one does, and raises what a check raises, once; then it has no more bytes."""

    def __init__(self, source: Source, check: Check) -> None:
        self._source, self._check = source, check
        self._position = 0
        self._is_refused = False

    def read(self, size: int = -1, /) -> bytes:
        if self._is_refused:  # FFmpeg tries again before the error arrives
            return b""
        self._source.seek(self._position)
        # First: what still arrives is not waited for longer than FFmpeg does.
        found = self._source.read(size)
        try:
            self._check.check(self._position, found)
        except VideoError:
            self._is_refused = True
            raise
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 1:
            offset, whence = self._position + offset, 0
        self._position = self._source.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
