"""Files under names of their own until they are complete, and the removal of those whose process was killed.

A draft is locked (flock) as long as its process works on it. The system gives the lock back when the process ends,
however it does, also in another container.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

PREFIX = ".writing-"

BEGUN_SECONDS = 60.0
"""An empty draft may be one that is about to get its lock, unless it is older than this."""


def write_draft(
    folder: Path, fill: Callable[[BinaryIO], T], undo: ExitStack, held: ExitStack
) -> tuple[Path, T]:
    """Write a file under a name of its own, completely on the disk.

    Args:
        folder: where.
        fill: writes the content.
        undo: removes the file.
        held: gives the lock back; to be closed when the file has its name, or is removed.

    Returns:
        its path, and what `fill` returned.

    Raises:
        OSError: it can not be written.
    """
    path, file = _locked(folder)
    held.callback(file.close)
    undo.callback(path.unlink, missing_ok=True)
    result = fill(file)
    file.flush()
    os.fsync(file.fileno())
    path.chmod(0o644)
    return path, result


def claim(path: Path, undo: ExitStack, held: ExitStack) -> None:
    """Make a new empty file that says that its folder is this process's own, and lock it.

    Args:
        path: of the file.
        undo: removes it.
        held: gives the lock back.

    Raises:
        FileExistsError: there is one.
        OSError: it can not be written.
    """
    file = path.open("xb")
    held.callback(file.close)
    undo.callback(path.unlink, missing_ok=True)
    _lock(file)


def sweep(folder: Path, claimed: str) -> None:
    """Remove the drafts in a folder whose process is gone, and the folder if that process made it.

    It did where nothing is left, or an empty file of the name `claimed`, on which no process works.
    """
    drafts = list(folder.glob(f"{PREFIX}*"))
    removed = [_removed(one) for one in drafts]
    if not all(removed):
        return
    with suppress(OSError):  # another export sweeps too, or begins a version
        left = list(folder.iterdir())
        if [one.name for one in left] == [claimed] and not left[0].stat().st_size:
            if drafts:
                left[0].unlink()
            elif not _removed(left[0]):
                return
        elif not drafts and _is_new(folder.stat()):
            return
        folder.rmdir()


def _locked(folder: Path) -> tuple[Path, BinaryIO]:
    """Return a new empty file, with its lock."""
    while True:
        number, name = tempfile.mkstemp(dir=folder, prefix=PREFIX)
        file = os.fdopen(number, "wb")
        _lock(file)
        path = Path(name)
        if path.exists():
            return path, file
        file.close()  # it was swept before it had its lock


def _removed(draft: Path) -> bool:
    """Remove a file whose process is gone, and return whether it was removed."""
    try:
        with draft.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(file.fileno())
            if not found.st_size and _is_new(found):
                return False
            draft.unlink()
    except OSError:
        return False
    return True


def _lock(file: BinaryIO) -> None:
    with suppress(OSError):  # a file system without locks: then nothing sweeps either
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_new(found: os.stat_result) -> bool:
    """Return whether a process may have made a file or folder that is empty just now, and be about to go on."""
    return abs(time.time() - found.st_mtime) < BEGUN_SECONDS
