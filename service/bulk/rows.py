"""What is known of an image → a row of the results, the same JSON as the service's answer."""

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from service.errors import ConfigurationError, FovealError, for_clients
from service.runtime.job import JobResult

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """The version of the model that answers."""

    model: str
    version: int

    def row(self, image: str, outcome: JobResult[Any] | FovealError) -> Row:
        """Return the row of an image: `result`, or `error` as the service gives it for an image among several."""
        row: Row = {"image": image, "model": self.model, "version": self.version}
        if isinstance(outcome, JobResult):
            return {**row, "result": outcome.value}
        return {**row, "error": {"code": outcome.code, "detail": _detail(outcome)}}

    def require_same(self, row: Row, where: str) -> None:
        """Check that a row of an earlier run came from the same version.

        Raises:
            ConfigurationError: it did not.
        """
        if (row["model"], row["version"]) != (self.model, self.version):
            raise ConfigurationError(
                f"{where} is of {row['model']} version {row['version']}, and this run is of {self.model} version "
                f"{self.version}. Name that version with --model {row['model']}:{row['version']}, or begin again "
                "with --overwrite."
            )


def is_failure(row: Row) -> bool:
    return "error" in row


def line_of(row: Row) -> bytes:
    """Return a row as a line of JSON."""
    return to_json(row) + b"\n"


def row_of(line: bytes, where: str) -> Row:
    """Return the row that a line holds.

    Raises:
        ConfigurationError: it holds none.
    """
    try:
        row = from_json(line)
        has_outcome = isinstance(row["error"]["code"], str) if "error" in row else "result" in row
        if isinstance(row["image"], str) and has_outcome:
            return {"model": "", "version": 0, **row}
    except (ValueError, TypeError, KeyError):
        pass
    raise ConfigurationError(
        f"{where} is no row of results, so nothing is added to it. Give another --out, or begin again with --overwrite."
    )


def _detail(error: FovealError) -> str:
    return for_clients(str(error)) if isinstance(error, ConfigurationError) else str(error)
