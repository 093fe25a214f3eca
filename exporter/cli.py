"""`foveal-export`: reads a trained network and writes one proved servable."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import click
import typer
from rich.console import Console
from rich.text import Text

from exporter.cards import edit_card
from exporter.checks import check_recipe
from exporter.errors import ExportError
from exporter.foreign_options import refuse_foreign_options
from exporter.guessing.asking import with_answers
from exporter.guessing.guess import (
    Guess,
    Missing,
    check_input,
    check_label_count,
    guess,
    missing,
)
from exporter.inspection import inspect_file
from exporter.labels import repeated_labels
from exporter.options import (
    GroupedCommand,
    refuse_mistyped_numbers,
    shown_name,
    with_recipe_options,
)
from exporter.outcome import Exported
from exporter.progress import Progress, shown_progress
from exporter.recipe import Recipe
from exporter.reference import reference as recipe_reference
from exporter.report import show_card, show_hint, show_precisions, show_variants
from exporter.request import Request, make_request
from exporter.shortage import shortages_named
from service.card import CardError

HELP = """Turn a trained vision network into one file that Foveal serves, and prove that it is the same network.

Examples, by source:

\b
foveal-export models/lenet5/recipe.toml
foveal-export yolov8n.onnx
foveal-export downloads/vit-base/
foveal-export torchvision:resnet50 --task classify --name resnet50
foveal-export torchvision:ssd300_vgg16 --weights DEFAULT --task detect --name ssd300
foveal-export timm:vit_tiny_patch16_224 --weights vit.safetensors \\
    --task classify --name vit-tiny
foveal-export python:my.networks:Cats --weights cats.pt --labels cats.txt \\
    --height 224 --width 224 --task classify --name cats
foveal-export program:cats.pt2 --labels cats.txt --task classify --name cats
foveal-export torchscript:cats.ts --height 224 --width 224 --labels cats.txt \\
    --task classify --name cats
foveal-export onnx:yolov8n.onnx --decoder yolov8 --labels coco.txt \\
    --resize letterbox --task detect --name yolov8n
foveal-export onnx:net.onnx --layout NHWC --scale 0.00784 --mean 1,1,1 \\
    --outputs boxes,scores --box-format yxyx --class-offset 1 \\
    --labels coco.txt --task detect --name ssd

All options: foveal-export export --help
"""

app = typer.Typer(
    name="foveal-export",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
console = Console()

LOADING = "Load PyTorch"
_SHOWN = 5

COMMANDS = {"export", "inspect", "card", "reference"}
"""The first word of a command line is one of these, or the source or an option of an export."""

OWN_OPTIONS = {"--help", "--version"}


class _ExportModule(Protocol):
    def export(
        self, recipe: Recipe, path: Path, progress: Progress, recipe_text: str | None = None
    ) -> Exported: ...


def _exporter() -> _ExportModule:
    """Return the module `exporter.export`, the only lazy import: it loads PyTorch, which other commands do not need."""
    return cast("_ExportModule", _loaded("exporter.export"))


def _loaded(module: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error.name} is not installed. In a clone, `make export` installs it."
        ) from error


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes the flag by position
    if wanted:
        typer.echo(f"foveal-export {version('foveal')}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[  # noqa: FBT002 - a flag, handled by its callback
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Options that need no command."""


@app.command(cls=GroupedCommand, context_settings={"token_normalize_func": shown_name})
@with_recipe_options
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A recipe.toml, the file or folder of a network, or a source; see foveal-export --help."
        ),
    ],
    *,
    models: Annotated[
        Path | None, typer.Option(help="The model repository to write to. [default: models]")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what would be done and why, and write nothing.")
    ] = False,
    **values: Any,  # noqa: ANN401 - one for each option of the recipe
) -> None:
    """Export a network (the default command)."""
    _check_given(source, values, models)
    found = guess(source, values)
    is_recipe = found.source.endswith(".toml")
    if not is_recipe:
        _show_granted(found)
    request = make_request(found.source, values if is_recipe else _answered(found), models)
    check_recipe(request.recipe, request.path)
    _check(request.recipe)
    with shown_progress(console) as progress:
        progress.begin(LOADING)
        found, request = _with_own_task(found, request, models, progress)
        if explain:
            explanation = _loaded("exporter.explanation")
            rows = explanation.explain(request.recipe, request.path, found.granted, progress)
        else:
            done = _exporter().export(request.recipe, request.path, progress, request.recipe_text)
    if explain:
        console.print(explanation.show_explanation(rows))
    else:
        _report(done)


def _check_given(source: str, values: dict[str, Any], models: Path | None) -> None:
    """Check the options before weights are searched for labels, which loads PyTorch."""
    if not values.get("weights"):
        return
    found = guess(source, values, search_weights=False)
    is_open = any(one.option != "--labels" for one in missing(found.source, found.values))
    if not found.source.endswith(".toml") and not is_open:
        request = make_request(found.source, found.values, models)
        check_recipe(request.recipe, request.path)


def _report(done: Exported) -> None:
    if done.precisions:
        console.print(show_precisions(done.precisions))
    if done.variants:
        console.print(show_variants(done.variants))
    console.print(show_card(done.path, done.card, done.activation, done.assumed))
    for hint in done.hints:
        console.print(show_hint(hint), soft_wrap=True)


def _with_own_task(
    found: Guess, request: Request, models: Path | None, progress: Progress
) -> tuple[Guess, Request]:
    """Return guess and request with the task that a network of timm turns out to have, if nobody stated another."""
    if not found.source.startswith("timm:"):
        return found, request
    settled: Guess = _loaded("exporter.guessing.headless").with_own_task(found)
    if settled is found:
        return found, request
    task = settled.granted[0]
    progress.warn(f"{task.option} {task.shown} is taken: {task.why}")
    changed = make_request(settled.source, settled.values, models)
    check_recipe(changed.recipe, changed.path)
    return settled, changed


def _answered(found: Guess) -> dict[str, Any]:
    """Return the options with the answers to what is missing; without a terminal there are no questions."""
    is_there = console.is_terminal and sys.stdin.isatty()
    questions = missing(found.source, found.values)
    return with_answers(found.source, found.values, questions, _ask if is_there else None)


def _ask(question: Missing) -> str:
    kind = click.Choice(question.choices) if question.choices else None
    return str(typer.prompt(question.question, type=kind))


def _show_granted(found: Guess) -> None:
    if not found.granted:
        return
    console.print("Taken for granted (give the option to change it):")
    if found.source:
        console.print(Text(f"  {found.source}"), soft_wrap=True)
    for one in found.granted:
        console.print(Text(f"  {one.option} {one.shown}   {one.why}"), soft_wrap=True)


def _check(recipe: Recipe) -> None:
    """Check input and labels before PyTorch is loaded, and say which labels several classes have."""
    check_input(recipe)
    labels = recipe.label_list() or ()
    check_label_count(recipe.source, recipe.model_dump(include={"task"}), labels)
    repeated = repeated_labels(labels)
    for label, ids in list(repeated.items())[:_SHOWN]:
        classes = ", ".join(map(str, ids[:_SHOWN]))
        console.print(
            Text.assemble(("warning: ", "yellow"), f"labels: classes {classes} are all {label!r}"),
            soft_wrap=True,
        )


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="A model.onnx.")]) -> None:
    """Show a file's card, its inputs and outputs, and the cost of its parts."""
    for part in inspect_file(file):
        console.print(part)


@app.command()
def card(
    file: Annotated[Path, typer.Argument(help="A servable.")],
    change: Annotated[
        list[str], typer.Option("--set", help="FIELD=VALUE, or labels=FILE; may be repeated.")
    ],
) -> None:
    """Edit words in a card, such as labels=FILE or title=…; the graph and its proof stay the same."""
    edited = edit_card(file, change)
    console.print(show_card(file, edited))


@app.command()
def reference() -> None:
    """Print the reference of every field of a recipe, as docs/recipe.md has it."""
    typer.echo(recipe_reference(), nl=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; without a command's name, the first word is the source of an export."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in COMMANDS | OWN_OPTIONS:
        words.insert(0, "export")
    try:
        if words[:1] == ["export"]:
            refuse_foreign_options(words)
        refuse_mistyped_numbers(words)
        with shortages_named():
            app(words)
    except (ExportError, CardError) as error:
        console.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
