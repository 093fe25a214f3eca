"""`foveal key new`: a key of the API."""

from pathlib import Path
from typing import Annotated

import typer

from service.keys import SCOPES, add_entry, as_entry, new_key

key_commands = typer.Typer(
    help="Make API keys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@key_commands.callback()
def _several() -> None:
    """Keep `new` a command of its own: Typer makes of a single one the group itself."""


@key_commands.command("new")
def new_key_command(
    name: Annotated[str, typer.Argument(help="Whose key it is, for the log")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What it may do: {', '.join(SCOPES)}; several by repeating the option. Default: infer, explain"
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="The file of keys: the entry is added to it, and nothing but the key is printed"
        ),
    ] = None,
) -> None:
    """Make a key. It is printed once; the file that FOVEAL_KEYS names gets its hash only.

    Example: foveal key new ada --scope infer --scope explain --keys keys.toml
    """
    key = new_key()
    entry = as_entry(name, key, scope or ["infer", "explain"])
    if keys is not None:
        add_entry(keys, name, entry)
        typer.echo(key)
        return
    typer.echo(f"The key, shown this once. Give it to its user:\n\n    {key}\n")
    typer.echo(f"Add this to the file that FOVEAL_KEYS names:\n\n{entry}", nl=False)
