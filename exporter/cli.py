"""`foveal-export`: a trained network in, one proved servable out."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Protocol, cast

import typer
from rich.console import Console

from exporter.errors import ExportError
from exporter.recipe import Recipe, read_recipe
from exporter.report import show_card
from exporter.steps import Steps, on_terminal
from service.card import Card

app = typer.Typer(name="foveal-export", help=__doc__, no_args_is_help=True, add_completion=False)
console = Console()


class _Exported(Protocol):
    path: Path
    card: Card


class _ExportModule(Protocol):
    def export(self, recipe: Recipe, path: Path, steps: Steps) -> _Exported: ...


def _exporter() -> _ExportModule:
    """Return `exporter.export`, the one lazy import: it brings PyTorch, which help, inspect and card do without."""
    try:
        return cast("_ExportModule", import_module("exporter.export"))
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error.name} is not installed. pip install 'foveal[exporter]'"
        ) from error


@app.callback()
def about() -> None:
    """Turn a trained vision network into one file that Foveal serves."""


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="A recipe.toml, or a source.", show_default=False)],
) -> None:
    """Turn a trained network into a servable (the default command)."""
    file = Path(source)
    recipe = read_recipe(file)
    path = file.parent / str(recipe.version) / "model.onnx"
    with on_terminal(console) as steps:
        done = _exporter().export(recipe, path, steps)
    console.print(show_card(done.path, done.card))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; without a command's name the first argument is what is to be exported."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {command.name or "" for command in app.registered_commands} | {"export"}
    if words and words[0] not in commands and not words[0].startswith("-"):
        words.insert(0, "export")
    try:
        app(words)
    except ExportError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
