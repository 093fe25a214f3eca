"""The `foveal` command: what serves, predicts and evaluates, and what looks after models, settings and keys."""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.commands.bulk import evaluate_command, predict_command
from service.commands.keys import new_key_command
from service.commands.models import doctor_command, models_command, warm_command
from service.commands.plan import plan_command
from service.commands.reference import openapi_command, reference_command
from service.commands.reload import reload_command
from service.commands.serve import serve_command
from service.commands.storage import lock_command, pull_command
from service.errors import ConfigurationError

COMMANDS: Mapping[str, Callable[..., None]] = {
    "predict": predict_command,
    "evaluate": evaluate_command,
    "serve": serve_command,
    "models": models_command,
    "pull": pull_command,
    "lock": lock_command,
    "warm": warm_command,
    "reload": reload_command,
    "reference": reference_command,
    "openapi": openapi_command,
    "doctor": doctor_command,
    "plan": plan_command,
}
"""In the order in which `foveal --help` lists them."""

cli = typer.Typer(
    help="Serve trained vision networks over HTTP. Every option can also be set as FOVEAL_… in the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    cli.command(_name)(_command)

key_commands = typer.Typer(help="Make API keys.", no_args_is_help=True)
key_commands.command("new")(new_key_command)
cli.add_typer(key_commands, name="key")


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
    try:
        cli()
    except ConfigurationError as error:
        Console(stderr=True).print("[red bold]foveal:[/]", escape(str(error)), highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
