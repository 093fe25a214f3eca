"""A file of results that is there as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service import whole_write
from service.bulk.item import reason_of
from service.errors import ConfigurationError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to; at the end of the block it has its name, after an error it is gone.

    Until then it is `.NAME.part`: one that a kill left is overwritten, because it may be large.

    Raises:
        ConfigurationError: it can not be written.
    """
    try:
        with whole_write.whole_file(path, path.with_name(f".{path.name}.part")) as file:
            yield file
    except OSError as error:
        raise ConfigurationError(f"{path} can not be written: {reason_of(error)}.") from error


def require_here(option: str, path: Path) -> None:
    """Check that a path is one of this machine; `pathlib` has made `s3:/bucket` of `s3://bucket`.

    Raises:
        ConfigurationError: it is the URL of another place.
    """
    scheme = path.parts[0] if path.parts else ""
    if scheme.endswith(":") and not Path(scheme).exists():
        raise ConfigurationError(
            f"{option} {path}: this is a URL, and results are written on this machine. Copy them there afterwards."
        )


def check_new(option: str, path: Path, *, replaces: bool) -> None:
    """Check that a file can be made where an option says.

    Raises:
        ConfigurationError: something is there and is not to be replaced, or there is no such folder.
    """
    require_here(option, path)
    if path.is_dir():
        raise ConfigurationError(f"{option} {path}: this is a folder. Name a file.")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{option} {path}: this is no regular file. Name one.")
    if path.exists() and not replaces:
        raise ConfigurationError(f"{option} {path}: the file exists. Replace it with --overwrite.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{option} {path}: there is no folder {path.parent}.")
