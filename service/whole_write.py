"""Files that are there as a whole or not at all, however many processes write them at once."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, draft: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to write to; at the end of the block it has its name, after an error nothing is left of it.

    Args:
        path: of the file; replaced if it is there.
        draft: its name until the end, in the same folder; None: one that no other process has.

    Raises:
        OSError: it can not be written.
    """
    draft = draft or path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    except BaseException:
        with suppress(OSError):  # it was never made: the folder can not be written
            draft.unlink()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; after an error nothing is left of it. It blocks.

    Raises:
        OSError: it can not be written.
    """
    with whole_file(path) as file:
        file.write(content)


def save_whole(path: Path, content: bytes) -> None:
    """Write a file that a user has named, as `write_whole` does: a link stays one, and a file keeps its permissions.

    Raises:
        OSError: it can not be written.
    """
    if path.exists() and not path.is_file():
        # A device or a pipe, such as /dev/stdout, is never replaced; its link may lead to no path.
        with path.open("wb") as there:
            there.write(content)
        return
    path = path.resolve()
    with whole_file(path) as file:
        if path.exists():
            shutil.copymode(path, file.name)
        file.write(content)
