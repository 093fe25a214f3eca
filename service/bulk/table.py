"""Images in a column of a Parquet file, row by row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from service.bulk.item import (
    Item,
    SourceFile,
    item_of_body,
    item_of_fault,
    name_of,
    reason_of,
    sized,
)
from service.errors import ConfigurationError

COLUMNS = ("image", "img", "bytes", "jpg", "png")
"""Names of columns with images, the most usual first."""
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
    path: SourceFile, largest: int, column: str | None, skipped: Callable[[], None] | None = None
) -> Iterator[Item]:
    """Yield the images of a Parquet file, named by their row: `file.parquet/0`.

    Args:
        path: of the file.
        largest: bytes that an image may have.
        column: the column with the encoded images, or with structs that have them in the field `bytes`; None: found.
        skipped: called for a table without images that nobody has named; None: it is an error.

    Raises:
        ConfigurationError: pyarrow is not installed, or there is no such column.
    """
    require_pyarrow(str(path))
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = name_of(path)
    try:
        with (
            arrow_source(path) as source,
            pq.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False) as file,
        ):
            place = _place(path, file.schema_arrow, column)
            if isinstance(place, ConfigurationError):
                if skipped is None:
                    raise place
                skipped()
                return
            row = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=[".".join(place)]):
                for value in _values(batch, place):
                    body = sized(value if value is not None else b"", largest)
                    yield item_of_body(f"{table}/{row}", body)
                    row += 1
    except OSError as error:
        yield item_of_fault(table, f"The Parquet file can not be read: {reason_of(error)}.")
    except pa.ArrowException as error:
        first = str(error).partition("\n")[0].rstrip(".")
        yield item_of_fault(table, f"The Parquet file is damaged: {first}.")


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


def _values(batch: Any, place: list[str]) -> list[bytes | None]:  # noqa: ANN401  # pyarrow has no types
    values = batch.column(0).to_pylist()
    if len(place) == 1:
        return list(values)
    return [None if value is None else value[place[1]] for value in values]


def _place(path: SourceFile, schema: Any, column: str | None) -> list[str] | ConfigurationError:  # noqa: ANN401
    """Return the column of the images, and the field in it where it holds structs; the error where there is none."""
    binary = {name: place for name in schema.names if (place := _binary(schema.field(name)))}
    if column is not None:
        if column in binary:
            return binary[column]
        held = ", ".join(schema.names)
        return ConfigurationError(
            f"{path}: --column {column}: there is no such column with bytes. Columns: {held}."
        )
    named = [name for name in COLUMNS if name in binary] or list(binary)
    if not named or (len(named) > 1 and named[0] not in COLUMNS):
        which = "several columns" if named else "no column"
        return ConfigurationError(
            f"{path}: {which} with bytes, of {', '.join(schema.names)}. Name that of the images by --column."
        )
    return binary[named[0]]


def _binary(field: Any) -> list[str]:  # noqa: ANN401
    """Return where a column holds bytes; empty where it does not."""
    import pyarrow.types as kinds  # noqa: PLC0415  # an extra

    def holds_bytes(kind: Any) -> bool:  # noqa: ANN401
        return str(kind) in {"binary", "large_binary", "binary_view"}

    if holds_bytes(field.type):
        return [field.name]
    # Hugging Face writes images as structs of `bytes` and `path`.
    if kinds.is_struct(field.type):
        inner = field.type.get_field_index("bytes")
        if inner >= 0 and holds_bytes(field.type.field(inner).type):
            return [field.name, "bytes"]
    return []
