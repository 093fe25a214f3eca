"""Images in a column of a Parquet file, row by row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from service.bulk.item import (
    Done,
    Item,
    SourceFile,
    item_of_body,
    item_of_fault,
    name_of,
    nothing_done,
    reason_of,
    sized,
)
from service.errors import ConfigurationError

COLUMNS = ("image", "img", "bytes", "jpg", "png")
"""Names of columns with images, the most usual first."""
_BYTES = frozenset({"binary", "large_binary", "binary_view"})
"""Arrow's names of what a value of any length is."""
_IMAGES = "Images are the bytes of their files (binary), or structs with the field bytes."
SHOWN_COLUMNS = 10
BATCH_ROWS = 16
BUFFER_BYTES = 1 << 20


def require_pyarrow(what: str) -> None:
    """Check that Parquet can be read and written.

    Raises:
        ConfigurationError: it can not.
    """
    if find_spec("pyarrow") is None:
        raise ConfigurationError(
            f"{what} is Parquet, which needs the package pyarrow. In a clone: pip install -e '.[parquet]'."
        )


def is_table(path: SourceFile) -> bool:
    return path.suffix.lower() in {".parquet", ".pq"}


def images_in_table(
    path: SourceFile,
    largest: int,
    column: str | None,
    skipped: Callable[[], None] | None = None,
    done: Done = nothing_done,
) -> Iterator[Item]:
    """Yield the images of a Parquet file, named by their row: `file.parquet/0`.

    Args:
        path: of the file.
        largest: bytes that an image may have.
        column: the column with the encoded images, or with structs that have them in the field `bytes`; None: found.
        skipped: called for a table without images that nobody has named; None: it is an error.
        done: which images are left out; a group of rows that are all done is not read.

    Raises:
        ConfigurationError: pyarrow is not installed, or there is no such column.
    """
    require_pyarrow(str(path))
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = name_of(path)
    fault = ""
    try:
        with (
            arrow_source(path) as source,
            pq.ParquetFile(
                source,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            ) as file,
        ):
            place = _place(path, file.schema_arrow, column)
            if isinstance(place, ConfigurationError):
                if skipped is None:
                    raise place
                skipped()
                return
            begin = 0
            for group in range(file.metadata.num_row_groups):
                rows = range(begin, begin + file.metadata.row_group(group).num_rows)
                begin = rows.stop
                first = next((row for row in rows if not done(f"{table}/{row}")), None)
                if first is None:
                    continue
                values = _values(file, group, place)
                for row, value in enumerate(values, rows.start):
                    if row == first or (row > first and not done(f"{table}/{row}")):
                        body = sized(value if value is not None else b"", largest)
                        yield item_of_body(f"{table}/{row}", body)
    except OSError as error:
        fault = f"The Parquet file can not be read: {reason_of(error)}."
    except pa.ArrowException as error:
        said = str(error).partition("\n")[0].rstrip(".")
        fault = f"The Parquet file is damaged: {said}."
    if fault and not done(table):
        yield item_of_fault(table, fault)


@contextmanager
def arrow_source(path: SourceFile) -> Iterator[Path | BinaryIO]:
    """Give what pyarrow reads: a path of this machine, which it opens itself, or an open file."""
    if isinstance(path, Path):
        yield path
        return
    with path.open("rb") as file:
        yield file


def count_in_table(path: SourceFile) -> int | None:
    """Return how many rows a Parquet file has; None where it can not be read."""
    require_pyarrow(str(path))
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with arrow_source(path) as source:
            return int(pq.read_metadata(source).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _values(file: Any, group: int, place: list[str]) -> Iterator[bytes | None]:  # noqa: ANN401  # pyarrow has no types
    """Yield the images of a group of rows; a few rows are in memory."""
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[".".join(place)]):
        for value in batch.column(0).to_pylist():
            yield value if len(place) == 1 or value is None else value[place[1]]


def _place(path: SourceFile, schema: Any, column: str | None) -> list[str] | ConfigurationError:  # noqa: ANN401
    """Return the column of the images, and the field in it where it holds structs; the error where there is none."""
    binary = {field.name: place for field in schema if (place := _binary(field))}
    if column is not None:
        if column not in binary:
            found = (
                schema.field(schema.names.index(column)).type if column in schema.names else None
            )
            reason = "there is no such column" if found is None else f"it has {found}, no bytes"
            return ConfigurationError(
                f"{path}: --column {column}: {reason}. {_IMAGES} Columns: {_shown(schema)}."
            )
        named = [column]
    else:
        named = [name for name in COLUMNS if name in binary] or list(binary)
        if not named:
            return ConfigurationError(
                f"{path}: no column has images. {_IMAGES} Columns: {_shown(schema)}."
            )
        if len(named) > 1 and named[0] not in COLUMNS:
            return ConfigurationError(
                f"{path}: several columns have bytes: {_listed(named)}. Name that of the images by --column."
            )
    if schema.names.count(named[0]) > 1:
        return ConfigurationError(
            f"{path}: several columns have the name {named[0]}. Write it with another name for each."
        )
    return binary[named[0]]


def _shown(schema: Any) -> str:  # noqa: ANN401  # pyarrow has no types
    return _listed([f"{field.name} ({field.type})" for field in schema])


def _listed(names: list[str]) -> str:
    left = len(names) - SHOWN_COLUMNS
    return ", ".join(names[:SHOWN_COLUMNS]) + (f" and {left} more" if left > 0 else "")


def _binary(field: Any) -> list[str]:  # noqa: ANN401
    """Return where a column holds bytes; empty where it does not."""
    import pyarrow.types as kinds  # noqa: PLC0415  # an extra

    def holds_bytes(kind: Any) -> bool:  # noqa: ANN401
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        return str(kind) in _BYTES

    if holds_bytes(field.type):
        return [field.name]
    # Hugging Face writes images as structs of `bytes` and `path`.
    if kinds.is_struct(field.type):
        inner = field.type.get_field_index("bytes")
        if inner >= 0 and holds_bytes(field.type.field(inner).type):
            return [field.name, "bytes"]
    return []
