"""The `foveal` command: what serves, predicts and evaluates, and what looks after models, settings and keys."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.commands.group import Commands
from service.commands.streams import open_closed_streams
from service.errors import ConfigurationError

cli = typer.Typer(
    cls=Commands,
    help="Serve trained vision networks over HTTP. Every option can also be set as FOVEAL_… in the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes the flag by position
    if wanted:
        typer.echo(f"foveal {version('foveal')}")
        raise typer.Exit


@cli.callback()
def common(
    show_version: Annotated[  # noqa: FBT002 - a flag, handled by its callback
        bool,
        typer.Option(
            "--version", help="Print the version and exit", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Options that need no command."""


def main() -> None:
    """Run the command; what the operator can mend is one line, not a traceback."""
    open_closed_streams()
    try:
        cli()
    except ConfigurationError as error:
        Console(stderr=True).print("[red bold]foveal:[/]", escape(str(error)), highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
