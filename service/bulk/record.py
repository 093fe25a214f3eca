"""What made a file of results: a small file beside it, which also keeps two runs from writing to it at once."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from service.bulk.item import reason_of
from service.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows; there two runs must not have one file
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".run.json"


@dataclass(frozen=True, slots=True)
class Record:
    """Which model, with which options, gave the results. `journal` is the run whose rows wait beside a Parquet file."""

    task: str
    model: str
    version: int
    graph_sha256: str
    options: Mapping[str, Any]
    foveal: str
    journal: str = ""

    def require_same(self, earlier: "Record", out: Path) -> None:
        """Check that an earlier run would have given the same results.

        Raises:
            ConfigurationError: it had another task, model, version, file of it, or other options.
        """
        for name in ("task", "model", "version", "graph_sha256", "options"):
            before, now = getattr(earlier, name), getattr(self, name)
            if before != now:
                raise ConfigurationError(
                    f"{out} was begun with {name} {_shown(before)}, not {_shown(now)}. Give the same again to go on "
                    "with --resume, or begin again with --overwrite."
                )


class RecordFile:
    """The record of a file of results, locked as long as this is open.

    Raises:
        ConfigurationError: another run has it, or it can not be written.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + SUFFIX)
        with ExitStack() as stack:
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                stack.callback(os.close, self._descriptor)
                if fcntl is not None:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"Another foveal predict writes to {out}. Wait for its end, or give another --out."
                ) from None
            except OSError as error:
                raise ConfigurationError(
                    f"{self.path} can not be written: {reason_of(error)}."
                ) from error
            stack.pop_all()

    def read(self) -> Record | None:
        """Return the record, None where there is none yet.

        Raises:
            ConfigurationError: the file holds something else.
        """
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        if not content.strip():
            return None
        try:
            return Record(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{self.path} does not say how its results were made. Begin again with --overwrite."
            ) from error

    def write(self, record: Record) -> Record:
        """Replace the record by one with a journal of its own, and return that.

        Raises:
            ConfigurationError: the disk is full.
        """
        fresh = replace(record, journal=uuid4().hex)
        content = json.dumps(asdict(fresh), indent=1).encode() + b"\n"
        try:
            written = os.pwrite(self._descriptor, content, 0)
            if written == len(content):
                os.ftruncate(
                    self._descriptor, written
                )  # after the write: a kill leaves no empty file
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} can not be written: {reason_of(error)}."
            ) from error
        if written < len(content):
            raise ConfigurationError(f"{self.path} can not be written: the disk is full.")
        return fresh

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._descriptor)


def _shown(found: object) -> str:
    return json.dumps(found) if isinstance(found, dict) else str(found)
