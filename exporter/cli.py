"""`foveal-export`: a trained network in, one proved servable out."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer
from rich.console import Console
from rich.text import Text

from exporter.cards import mend_card
from exporter.errors import ExportError, RecipeError
from exporter.inspection import inspect_file
from exporter.progress import Steps, on_terminal
from exporter.recipe import Recipe, make_recipe, read_recipe
from exporter.report import Measured, show_card, show_precisions
from exporter.writing import next_version, write_recipe
from service.card import Card, CardError

HELP = """Turn a trained vision network into one file that Foveal serves, proved equal to it.

Examples, by source:

    foveal-export models/lenet5/recipe.toml

    foveal-export torchvision:resnet50 --task classify --name resnet50

    foveal-export torchvision:ssd300_vgg16 --weights DEFAULT --task detect --name ssd300

    foveal-export timm:vit_tiny_patch16_224 --weights vit.safetensors --task classify --name vit-tiny

    foveal-export python:my.networks:Cats --weights cats.pt --labels cats.txt
    --height 224 --width 224 --task classify --name cats

    foveal-export program:cats.pt2 --labels cats.txt --task classify --name cats

    foveal-export torchscript:cats.ts --height 224 --width 224 --labels cats.txt
    --task classify --name cats

    foveal-export onnx:yolov8n.onnx --decoder yolov8 --labels coco.txt --resize letterbox
    --task detect --name yolov8n

    foveal-export onnx:net.onnx --layout NHWC --scale 0.00784 --mean 1,1,1 --outputs boxes,scores
    --box-format yxyx --class-offset 1 --labels coco.txt --task detect --name ssd
"""

app = typer.Typer(
    name="foveal-export",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
console = Console()


class Exported(Protocol):
    """What an export gives back, as far as the terminal shows it."""

    @property
    def path(self) -> Path: ...

    @property
    def card(self) -> Card: ...

    @property
    def precisions(self) -> Sequence[Measured]: ...


class _ExportModule(Protocol):
    def export(self, recipe: Recipe, path: Path, steps: Steps) -> Exported: ...


def _exporter() -> _ExportModule:
    """Return `exporter.export`: the one lazy import, of PyTorch, which the other commands spare."""
    try:
        return cast("_ExportModule", import_module("exporter.export"))
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error.name} is not installed. pip install 'foveal[exporter]'"
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


@app.command()
def export(  # noqa: PLR0917 - typer makes the options of them
    source: Annotated[str, typer.Argument(help="A recipe.toml, or a source; see the examples.")],
    task: Annotated[str | None, typer.Option(help="classify, segment, detect or embed.")] = None,
    name: Annotated[str | None, typer.Option(help="What the servable is called.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="DEFAULT, an enum name, a file, or none.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="A .txt with one label a line, or a .json list.")
    ] = None,
    models: Annotated[Path, typer.Option(help="The model repository to write to.")] = Path(
        "models"
    ),
    title: Annotated[str | None, typer.Option(help="What people call the network.")] = None,
    license: Annotated[  # noqa: A002  # the option's name
        str | None, typer.Option(help="The weights' license.")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="Where the network comes from.")] = None,
    height: Annotated[int | None, typer.Option(help="Rows of the frame.")] = None,
    width: Annotated[int | None, typer.Option(help="Columns of the frame.")] = None,
    resize: Annotated[str | None, typer.Option(help="crop, stretch or letterbox.")] = None,
    shorter_side: Annotated[
        int | None, typer.Option(help="With crop: the shorter side before it.")
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic, lanczos, nearest, box, hamming.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="A byte times this, then mean and std; 1/255 unless said.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Three numbers: 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Three numbers: 0.229,0.224,0.225.")] = None,
    color: Annotated[str | None, typer.Option(help="rgb, bgr or gray.")] = None,
    outputs: Annotated[
        str | None, typer.Option(help="The graph outputs that matter, boxes before scores.")
    ] = None,
    decoder: Annotated[
        str | None, typer.Option(help="pair, yolov5, yolov8 (and 11) or end2end.")
    ] = None,
    box_format: Annotated[str | None, typer.Option(help="xyxy, yxyx, xywh or cxcywh.")] = None,
    box_unit: Annotated[str | None, typer.Option(help="frame (0 to 1) or pixel.")] = None,
    activation: Annotated[
        str | None, typer.Option(help="softmax, sigmoid or none, before scores or maps count.")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="The scores' background column: none, first or last.")
    ] = None,
    class_offset: Annotated[
        int | None, typer.Option(help="What is added to a column to be a class id.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, fp16, int8, or several, as int8,fp32 or repeated: all are measured, the first "
            "that agrees with fp32 on 99 % is written."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of your images, to prove and calibrate with.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="The largest difference that is allowed.")
    ] = None,
    multi_label: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--multi-label", help="An image may be several things at once.")
    ] = False,
) -> None:
    """Export a network (the default command)."""
    if source.endswith(".toml"):
        recipe = read_recipe(Path(source))
        path = Path(source).parent / str(recipe.version) / "model.onnx"
        said: dict[str, Any] | None = None
    else:
        said = _without_none(
            source=source,
            task=task,
            name=name,
            weights=weights,
            labels=labels,
            title=title,
            license=license,
            origin=origin,
            outputs=outputs.split(",") if outputs else None,
            precision=",".join(precision) if precision else None,
            multi_label=multi_label or None,
            input=_without_none(
                height=height,
                width=width,
                resize=resize,
                shorter_side=shorter_side,
                interpolation=interpolation,
            ),
            pixels=_without_none(
                layout=layout, scale=scale, mean=_three(mean), std=_three(std), color=color
            )
            or None,
            segment=_without_none(activation=activation if task == "segment" else None),
            detect=_without_none(
                decoder=decoder,
                box_format=box_format,
                box_unit=box_unit,
                background=background,
                class_offset=class_offset,
                score_activation=activation if task == "detect" else None,
            )
            or None,
            proof=_without_none(
                images=str(images.resolve()) if images else None, tolerance=tolerance
            ),
        )
        recipe = make_recipe(said)
        path = next_version(models / recipe.name)
    with on_terminal(console) as steps:
        done = _exporter().export(recipe, path, steps)
    if said is not None:
        write_recipe(path.parent.parent / "recipe.toml", said)
    if done.precisions:
        console.print(show_precisions(done.precisions))
    console.print(show_card(done.path, done.card))


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="A model.onnx.")]) -> None:
    """Show a file's card, its inputs and outputs, and where its cost lies."""
    for part in inspect_file(file):
        console.print(part)


@app.command()
def card(
    file: Annotated[Path, typer.Argument(help="A servable.")],
    change: Annotated[
        list[str], typer.Option("--set", help="FIELD=VALUE, or labels=FILE; may be repeated.")
    ],
) -> None:
    """Mend words in a card, such as labels=FILE, title=…; the graph and its proof stay."""
    mended = mend_card(file, change)
    console.print(show_card(file, mended))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; where no command is named, the first word is what to export."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in {"export", "inspect", "card"} and not words[0].startswith("-"):
        words.insert(0, "export")
    try:
        app(words)
    except (ExportError, CardError) as error:
        console.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        sys.exit(1)


def _without_none(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - a recipe's fields are of many types
    return {name: value for name, value in fields.items() if value is not None}


def _three(text: str | None) -> list[float] | None:
    """Return three numbers written with commas; one number stands for all three."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise RecipeError(f"{text!r}: write three numbers with commas between") from error
    return numbers * 3 if len(numbers) == 1 else numbers


if __name__ == "__main__":
    main()
