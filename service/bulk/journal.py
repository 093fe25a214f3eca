"""A file of rows that grows line by line and survives a kill at any moment: what is in it is whole lines."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.bulk.item import reason_of
from service.bulk.rows import Row, line_of, row_of
from service.errors import ConfigurationError

BLOCK_BYTES = 1 << 20


class Journal:
    """Rows in a file, one a line. Nobody else writes to it meanwhile.

    A kill may leave the beginning of a line at the end; opening cuts it off.

    Args:
        path: of the file; made if it is not there.

    Raises:
        ConfigurationError: it can not be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
            self._end = _end_of_last_line(self._file.fileno())
            self._file.truncate(self._end)
            self._file.seek(self._end)
        except OSError as error:
            raise _refused(path, error) from error

    @property
    def is_empty(self) -> bool:
        return not self._end

    def read(self) -> Iterator[Row]:
        """Yield the rows that are there now, while further ones are added.

        Raises:
            ConfigurationError: a line is no row.
        """
        return read_lines(self.path, self._end)

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows; all of them or, after an error, a part, but only whole lines.

        Raises:
            ConfigurationError: the disk is full, or the file can not be written for another reason.
        """
        lines = [line_of(row) for row in rows]
        try:
            self._write(b"".join(lines))
        except OSError as error:
            kept = _fitting(lines, self._file.tell() - self._end)
            self._end += sum(map(len, lines[:kept]))
            os.ftruncate(self._file.fileno(), self._end)
            raise _refused(self.path, error) from error
        self._end += sum(map(len, lines))

    def sync(self) -> None:
        """Bring all rows to the disk.

        Raises:
            ConfigurationError: that failed.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refused(self.path, error) from error

    def close(self) -> None:
        self._file.close()

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]


def read_lines(path: Path, end: int) -> Iterator[Row]:
    """Yield the rows in the first `end` bytes of a file.

    Raises:
        ConfigurationError: a line is no row, or the file can not be read.
    """
    try:
        with path.open("rb", buffering=BLOCK_BYTES) as file:
            for number, line in enumerate(file, 1):
                end -= len(line)
                if end < 0:
                    return
                yield row_of(line, f"Line {number} of {path}")
    except OSError as error:
        raise ConfigurationError(f"{path} can not be read: {reason_of(error)}.") from error


def _fitting(lines: Sequence[bytes], size: int) -> int:
    """Return how many lines lie within so many bytes."""
    count = 0
    for line in lines:
        size -= len(line)
        if size < 0:
            break
        count += 1
    return count


def _end_of_last_line(descriptor: int) -> int:
    """Return where the last whole line ends."""
    at = os.fstat(descriptor).st_size
    while at:
        begin = max(0, at - BLOCK_BYTES)
        found = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0


def _refused(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path} can not be written: {reason_of(error)}.")
