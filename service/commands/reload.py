"""`foveal reload`: a service that runs looks at its models again."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from service.commands.output import wide_console
from service.errors import ConfigurationError
from service.processes.reload import reload_models


def reload_command(
    url: Annotated[str, typer.Option(help="Where the service listens")] = "http://127.0.0.1:8000",
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with nothing but a key of the scope admin; - reads the key from the input"
        ),
    ] = None,
) -> None:
    """Let a running service serve what its folder of models and foveal.toml say now, without stopping.

    The service needs FOVEAL_ADMIN=true. Exits with 1 when anything was refused.
    """
    raise typer.Exit(reload_models(wide_console(), url, _key_in(key_file)))


def _key_in(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return (sys.stdin.read() if str(file) == "-" else file.read_text()).strip()
    except OSError as error:
        raise ConfigurationError(f"{file} can not be read: {error.strerror or error}.") from error
