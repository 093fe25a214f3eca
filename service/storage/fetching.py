"""A file of a place → a file here: from where it broke off, within a deadline, and not too slowly."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from service.errors import StorageError, StorageFailure
from service.storage.file_system import CHUNK_BYTES, RemoteFiles, Stream

ATTEMPTS = 5
"""How often in a row a file is asked for again when nothing came."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a system says where there is no room for more of a file."""
MAKE_ROOM = "Make room, or name another folder (FOVEAL_MODELS_CACHE; --models of foveal pull)."

_NO_TIME = 0.001
"""Seconds that a read has when the deadline is over, so that it ends as one that took too long."""

Clock = Callable[[], float]
Progress = Callable[[int], None]
"""Called with the number of bytes that came."""


@dataclass(slots=True)
class Pace:
    """How long a version may take from now on, and how slow it may come.

    Attributes:
        seconds: for all of it.
        least_rate: in bytes a second, over each `window`.
        window: in seconds.
        pause: in seconds, before the second attempt; twice as long before each that follows.
        clock, sleep: the time.
    """

    seconds: float
    least_rate: float
    window: float = 30.0
    pause: float = 0.5
    clock: Clock = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _began: float = field(init=False)
    _window_began: float = field(init=False)
    _window_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self.begin_window()

    def begin_window(self) -> None:
        """Count from now on; a pause between attempts is not slow."""
        self._window_began, self._window_bytes = self.clock(), 0

    @property
    def left(self) -> float:
        """How many seconds a read may take: a block at the least rate, but not beyond the deadline."""
        block = max(self.window, CHUNK_BYTES / max(self.least_rate, 1.0))
        return max(_NO_TIME, min(block, self._began + self.seconds - self.clock()))

    def require_time(self, path: str) -> None:
        """Check that there is time for more of a file.

        Raises:
            StorageError: the deadline is over.
        """
        if self.clock() - self._began > self.seconds:
            raise StorageError(
                f"{path} did not come within {self.seconds:g} s (FOVEAL_MODELS_FETCH_SECONDS). What came is kept: "
                "start again to go on.",
                "slow",
            )

    def note(self, path: str, count: int) -> None:
        """Take notice of bytes that came.

        Raises:
            TooSlowError: they come too slowly.
            StorageError: the deadline is over.
        """
        self.require_time(path)
        now = self.clock()
        self._window_bytes += count
        passed = now - self._window_began
        if passed < self.window:
            return
        if self._window_bytes < self.least_rate * passed:
            raise TooSlowError(
                f"{path} comes with {self._window_bytes / passed:,.0f} bytes a second, and the least is "
                f"{self.least_rate:,.0f} (FOVEAL_MODELS_MIN_BYTES_PER_SECOND)."
            )
        self.begin_window()


class TooSlowError(Exception):
    """A connection that is too slow; another may be faster."""


@dataclass(frozen=True, slots=True)
class FileFetch:
    """Brings a file here, what is missing of it.

    Attributes:
        files: the place.
        path: of the file there.
        size: in bytes.
        target: where it goes; what lies there is its beginning.
        pace: how long it may take.
        progress: called with what came.
    """

    files: RemoteFiles
    path: str
    size: int
    target: Path
    pace: Pace
    progress: Progress

    def run(self) -> None:
        """Return when the file is here; blocking.

        Raises:
            FileGoneError: it is not there any more.
            StorageError: it did not come, or it is not of its size.
            DiskFullError: there is no room for it.
        """
        if _size_of(self.target) > self.size:
            self.target.unlink()
        failures = slow = 0
        while True:
            before = _size_of(self.target)
            try:
                self._fetch_rest(before)
            except (StorageError, TooSlowError) as error:
                failures = 1 if _size_of(self.target) > before else failures + 1
                slow += isinstance(error, TooSlowError)
                if failures >= ATTEMPTS or slow > 1 or self.pace.left <= _NO_TIME:
                    reason: StorageFailure = (
                        "slow" if isinstance(error, TooSlowError) else error.reason
                    )
                    raise StorageError(str(error), reason) from error
            except OSError as error:
                raise _not_written(self.target, self.size, error) from error
            else:
                return
            self.pace.sleep(self.pace.pause * 2 ** (failures - 1))
            self.pace.begin_window()

    def _fetch_rest(self, offset: int) -> None:
        with self.target.open("ab") as out:
            if offset == self.size:
                return
            stream, begins = self.files.open(self.path, offset)
            try:
                if begins != offset:
                    out.truncate(0)
                    self.progress(-offset)
                self._copy(stream, out, self.size - begins)
            finally:
                self.files.close(stream)
                out.flush()
            os.fsync(out.fileno())

    def _copy(self, stream: Stream, out: BinaryIO, missing: int) -> None:
        shown = f"{self.files.url}/{self.path}"
        while missing:
            self.pace.require_time(shown)
            chunk = self.files.read(stream, self.path, min(missing, CHUNK_BYTES), self.pace.left)
            if not chunk:
                raise StorageError(f"{shown}: the connection ended {missing} bytes too soon.")
            if len(chunk) > missing:
                raise StorageError(f"{shown}: more bytes came than it has.")
            out.write(chunk)
            missing -= len(chunk)
            self.progress(len(chunk))
            self.pace.note(shown, len(chunk))


class DiskFullError(Exception):
    """There is no room for a file here."""


def _not_written(target: Path, size: int, error: OSError) -> StorageError | DiskFullError:
    if error.errno in FULL:
        return DiskFullError(
            f"{target.parent} has no room for {target.name} ({size} bytes): {error.strerror}. "
            f"{MAKE_ROOM}"
        )
    return StorageError(f"{target} can not be written: {error.strerror or error}.", "disk")


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
