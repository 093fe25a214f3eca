"""A TOML file of an operator → its content, read whole and bounded."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError

MOST_BYTES = 1 << 20


def read_toml(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Return what a regular file says; nothing else is opened, because a named pipe would never end.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigurationError: it is no regular file, has more bytes, can not be read, or is no TOML.
    """
    return parse_toml(read_text(path, most_bytes))


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a regular file; see `read_toml`."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError("it is not a regular file")
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError as error:
        raise ConfigurationError("it is not a regular file") from error
    except OSError as error:
        raise ConfigurationError(f"it can not be read: {error.strerror or error}") from error
    if len(content) > most_bytes:
        raise ConfigurationError(f"it has more than {most_bytes} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError("it is not UTF-8") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a text says.

    Raises:
        ConfigurationError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError("its lists and tables are nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"it is not TOML: {error}") from error
    except ValueError as error:  # Python reads no number of more than 4,300 digits
        raise ConfigurationError("it has a number that is too long") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, or a pipe without a wait for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
