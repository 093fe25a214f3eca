"""A mark beside a model that was sent, until it was loaded once: one that ends its process is not tried at each start.

The process that has received the model holds a lock on the mark. A mark that nobody holds says that this process ended
before it could remove it.
"""

import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows; there no mark is made
    fcntl = None  # type: ignore[assignment]

MARK = ".first-load"
"""The name of the mark in the folder of a version."""
INTERRUPTED = (
    "the process that had received it ended while it was loaded for the first time, perhaps for want of memory. It is "
    f"not loaded again. Send it again, or remove its folder; without the file {MARK} in there it is tried once more."
)


class FirstLoad:
    """The mark of a version, held until the first load has ended, or this process; or nobody has this object any more.

    Args:
        folder: of the version, before anybody looks for models there. Where its file system has no locks, none is made.

    Raises:
        OSError: it can not be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / MARK
        file = path.open("wb")
        self.release = weakref.finalize(self, file.close)
        if not _locks(file, alone=True):
            self.release()
            path.unlink()

    def end(self, folder: Path) -> None:
        """Remove the mark from where the version lies by now."""
        if self.release.alive:
            with contextlib.suppress(OSError):  # removed with the version
                (folder / MARK).unlink()
            self.release()


@contextlib.contextmanager
def interrupted(folder: Path, *, alone: bool = False) -> Iterator[bool]:
    """Give whether the first load of a version ended with its process.

    Args:
        folder: of the version.
        alone: whether nobody else is told so while the block runs, as for a removal.

    Raises:
        OSError: the mark can not be read.
    """
    try:
        file = (folder / MARK).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    with file:
        yield _locks(file, alone=alone)


def _locks(file: BinaryIO, *, alone: bool) -> bool:
    """Lock a file until it is closed; return whether that was possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:  # another process holds it, or the file system has no locks
        return False
    return True
