"""The file of results: new, gone on with or begun again; as lines of JSON, or as Parquet."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Literal

from service.bulk.item import reason_of
from service.bulk.journal import Journal, read_lines
from service.bulk.parquet import Table, journal_of, read_rows
from service.bulk.record import Record, RecordFile
from service.bulk.rows import Row
from service.bulk.table import is_table, require_pyarrow
from service.bulk.whole_file import require_here
from service.errors import ConfigurationError

Mode = Literal["new", "resume", "overwrite"]
LINES = (".jsonl", ".ndjson")


def check_out(out: Path, mode: Mode) -> None:
    """Check where the results go, before anything is loaded.

    Raises:
        ConfigurationError: they can not go there, or some are there already.
    """
    require_here("--out", out)
    if is_table(out):
        require_pyarrow(f"--out {out}")
    elif out.suffix.lower() not in LINES:
        raise ConfigurationError(f"--out {out}: end its name in .jsonl or .parquet.")
    if not out.parent.is_dir():
        raise ConfigurationError(f"--out {out}: there is no folder {out.parent}.")
    try:
        passages_path(out).lstat()  # the longest name of a file that a run makes
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"--out {out}: {reason_of(error)}. Give another name.") from error
    if out.is_symlink() and not out.exists():
        raise ConfigurationError(f"--out {out}: this is a link to something that is not there.")
    if out.exists() and not out.is_file():
        raise ConfigurationError(f"--out {out}: this is no regular file.")
    if mode == "new":
        _require_nothing(out)


def journal_path(out: Path) -> Path:
    """Return where the rows are written one by one: Parquet is made of them at the end."""
    return out.with_name(f"{out.name}.rows.jsonl") if is_table(out) else out


def passages_path(out: Path) -> Path:
    """Return where it is noted how far the rows have come in tar shards."""
    return out.with_name(f"{out.name}.shards.jsonl")


def files_of(out: Path) -> frozenset[Path]:
    """Return every file that a run makes, with its whole path."""
    return frozenset(one.absolute() for one in (out, journal_path(out), passages_path(out)))


class Results:
    """The results of one run; closed by leaving the block.

    Args:
        out: the file, checked by `check_out`.
        record: which model and options give the results.
        mode: whether rows that are there stay.
        result: the TypedDict of the task's result.

    Raises:
        ConfigurationError: another run writes to it, it was begun with other options, or it can not be written.
    """

    def __init__(self, out: Path, record: Record, mode: Mode, result: type) -> None:
        self._out = out
        self._table = Table(result) if is_table(out) else None
        self._file = RecordFile(out)
        try:
            self._begin(record, mode)
        except BaseException:
            if not out.exists() and not journal_path(out).exists():
                self._file.remove()  # a record of nothing
            self._file.close()
            raise

    def _begin(self, record: Record, mode: Mode) -> None:
        out, journal = self._out, journal_path(self._out)
        if mode == "overwrite":
            _remove(out, journal)
        elif mode == "new":
            _require_nothing(out)
        earlier = self._file.read() if out.exists() or journal.exists() else None
        if earlier is not None:
            record.require_same(earlier, out)
            if self._table and out.exists() and journal_of(out) == earlier.journal:
                _remove(journal)  # a kill came after its rows were in the Parquet file
        fresh = not journal.exists()
        self._record = self._file.write(record) if fresh or earlier is None else earlier
        self._made = fresh and not out.exists()
        if self._made:
            _remove(passages_path(out))
        self._journal = Journal(journal)

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        if self._made and self._journal.is_empty:
            _remove(self._journal.path)
            self._file.remove()
        self._file.close()

    def earlier(self) -> Iterator[Row]:
        """Yield the rows of earlier runs; of those in a Parquet file, `result` without its content.

        Raises:
            ConfigurationError: something else is in the file.
        """
        written = read_rows(self._out) if self._table and self._out.exists() else iter(())
        return chain(written, self._journal.read())

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows.

        Raises:
            ConfigurationError: the disk is full, or the file can not be written for another reason.
        """
        self._journal.add(rows)

    def complete(self) -> None:
        """End the file: all images have their row.

        Raises:
            ConfigurationError: it can not be written; the rows are kept, and a later run goes on.
        """
        self._journal.sync()
        if self._table is None:
            return
        if not self._journal.is_empty:
            earlier = self._out if self._out.exists() else None
            try:
                self._table.write(self._out, earlier, self._journal.read(), self._record.journal)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"{error} All rows are in {self._journal.path}; go on with --resume."
                ) from error
        _remove(self._journal.path)


def read_results(out: Path) -> Iterator[Row]:
    """Yield the rows of a complete file of results.

    Raises:
        ConfigurationError: something else is in it.
    """
    return read_rows(out, whole=True) if is_table(out) else read_lines(out, out.stat().st_size)


def _require_nothing(out: Path) -> None:
    journal = journal_path(out)
    for path, what in ((out, "exists"), (journal, "exists: an unfinished run")):
        if path.exists():
            raise ConfigurationError(
                f"{path} {what}. Go on with it by --resume, or begin again with --overwrite."
            )


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
