"""Rows of results ↔ a Parquet file, with the columns that the type of a task's result states."""

import os
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pydantic_core import to_json
from typing_extensions import get_type_hints, is_typeddict

from service.bulk.rows import Row
from service.bulk.whole_file import whole_file
from service.errors import ConfigurationError

JOURNAL_KEY = b"foveal.journal"
GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20
"""Of JSON: rows with masks are large."""
READ_ROWS = 1000


class _NoColumnTypeError(TypeError):
    """A type that Parquet has no columns for."""


class Table:
    """Parquet files of one task's results.

    Args:
        result: the TypedDict of the task's result. One that has no columns is written as JSON text.
    """

    def __init__(self, result: type) -> None:
        import pyarrow as pa  # noqa: PLC0415  # an extra

        try:
            kind = _kind(result)
            self._is_text = False
        except _NoColumnTypeError:
            kind = pa.string()
            self._is_text = True
        fault = pa.struct([("code", pa.string()), ("detail", pa.string())])
        self._schema = pa.schema(
            [
                pa.field("image", pa.string(), nullable=False),
                pa.field("model", pa.string(), nullable=False),
                pa.field("version", pa.int64(), nullable=False),
                ("result", kind),
                ("error", fault),
            ]
        )

    def write(self, path: Path, earlier: Path | None, rows: Iterable[Row], journal: str) -> None:
        """Write a file as a whole or not at all.

        Args:
            path: of the file; replaced if it is there.
            earlier: a file whose rows come first; None: there is none.
            rows: those that follow.
            journal: where they come from; see `journal_of`.

        Raises:
            ConfigurationError: it can not be written.
        """
        import pyarrow as pa  # noqa: PLC0415  # an extra
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = self._schema.with_metadata({JOURNAL_KEY: journal.encode()})
        try:
            with whole_file(path) as file:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    for batch in () if earlier is None else _batches(earlier):
                        writer.write_batch(batch.cast(schema))
                    for group in _groups(rows):
                        writer.write_table(pa.Table.from_pylist(self._values(group), schema))
                file.flush()
                os.fsync(file.fileno())
        except pa.ArrowException as error:
            raise ConfigurationError(f"{path} can not be written: {error}.") from error

    def _values(self, rows: list[Row]) -> list[Row]:
        if not self._is_text:
            return rows
        return [
            {**row, "result": to_json(row["result"]).decode()} if "result" in row else row
            for row in rows
        ]


def read_rows(path: Path, *, whole: bool = False) -> Iterator[Row]:
    """Yield the rows of a Parquet file of results; unless `whole`, `result` is without its content.

    Raises:
        ConfigurationError: it is no such file.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = ["image", "model", "version", "error", *(["result"] if whole else [])]
    try:
        with pq.ParquetFile(path) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                raise _no_results(path)
            for batch in file.iter_batches(READ_ROWS, columns=columns):
                for row in batch.to_pylist():
                    fault, found = row.pop("error"), row.pop("result", None)
                    yield {**row, **({"result": found} if fault is None else {"error": fault})}
    except (OSError, pa.ArrowException) as error:
        raise _no_results(path) from error


def journal_of(path: Path) -> str:
    """Return which journal's rows a Parquet file has; empty where it has none.

    Raises:
        ConfigurationError: it is no Parquet file.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        found = (pq.read_schema(path).metadata or {}).get(JOURNAL_KEY, b"")
    except (OSError, pa.ArrowException) as error:
        raise _no_results(path) from error
    return str(found.decode("utf-8", "replace"))


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq  # noqa: PLC0415  # an extra

    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(READ_ROWS)


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(to_json(row))
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _kind(annotation: Any) -> Any:  # noqa: ANN401  # pyarrow has no types
    """Return the Arrow type of what JSON holds; of several objects, one with the fields of all.

    Raises:
        _NoColumnTypeError: there is none.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra

    simple = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if annotation in simple:
        return simple[annotation]
    if is_typeddict(annotation):
        return pa.struct(list(_fields(annotation).items()))
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in {Annotated, NotRequired, Required}:
        return _kind(inner[0])
    if origin is list:
        return pa.list_(_kind(inner[0]))
    if origin is Literal and all(isinstance(one, str) for one in inner):
        return pa.string()
    if origin in {Union, types.UnionType}:
        return _kind_of_any([one for one in inner if one is not types.NoneType])
    raise _NoColumnTypeError(annotation)


def _kind_of_any(members: list[Any]) -> Any:  # noqa: ANN401
    import pyarrow as pa  # noqa: PLC0415  # an extra

    if len(members) == 1:
        return _kind(members[0])
    if not all(is_typeddict(one) for one in members):
        raise _NoColumnTypeError(members)
    fields: dict[str, Any] = {}
    for one in members:
        fields |= _fields(one)
    return pa.struct(list(fields.items()))


def _fields(typed: type) -> dict[str, Any]:
    hints = get_type_hints(typed, include_extras=True)
    return {name: _kind(hint) for name, hint in hints.items()}


def _no_results(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} holds no results of foveal predict. Give another --out, or begin again with --overwrite."
    )
