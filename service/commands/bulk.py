"""The commands `foveal predict` and `foveal evaluate`: their options, and nothing else."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from io import BytesIO
from pathlib import Path
from signal import SIGINT
from typing import Annotated, Any, BinaryIO

import typer

from service.bulk.cluster import Cluster
from service.bulk.ending import signal_status
from service.bulk.evaluate import Evaluation, evaluate
from service.bulk.predict import Input, Output, predict
from service.bulk.predictor import Wanted
from service.bulk.results import Mode
from service.command_options import DeviceOption, ModelsOption
from service.commands.output import wide_console
from service.errors import ConfigurationError
from service.logs import configure_logs
from service.settings import Settings, read_settings

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Image files, folders, glob patterns, tar shards, Parquet files, also as s3:// and other URLs; "
        "- reads paths from the input",
        metavar="SOURCE...",
        show_default=False,
    ),
]
TaskOption = Annotated[str, typer.Option("--task", help="classify, detect, segment, embed")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="NAME, NAME:VERSION or NAME@ALIAS; default: the task's"),
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="NAME=VALUE: an option of the task as in a request, such as top_k=3; several by repeating it",
    ),
]


def predict_command(
    *,
    sources: SourcesArgument,
    task: TaskOption,
    out: Annotated[Path, typer.Option(help="Results: a file that ends in .jsonl or .parquet")],
    model: ModelOption = None,
    option: OptionsOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the file of an earlier run")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of an earlier run")
    ] = False,
    coco: Annotated[
        Path | None, typer.Option(help="Write boxes or masks as COCO results, too")
    ] = None,
    coco_annotations: Annotated[
        Path | None,
        typer.Option(help="COCO annotations whose ids of images and categories --coco uses"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Draw each result on its image, into this folder")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the images in Parquet files")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths in the input end with a zero byte")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Compute on this Ray cluster: HOST:PORT, ray://HOST:PORT, auto; local starts one here"
        ),
    ] = None,
    ray_cpus: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPUs of each process on the cluster; default: all of its machine"
        ),
    ] = None,
    models: ModelsOption = None,
    device: DeviceOption = None,
) -> None:
    """Predict all images of files, folders, tar shards or Parquet files, without HTTP.

    A row holds what the service answers for the image. Exits with 1 when an image failed; its row says why.

    Example: foveal predict photos/ --task detect --out results.jsonl
    """
    if resume and overwrite:
        raise ConfigurationError(
            "--resume and --overwrite contradict each other. Give one of them."
        )
    if ray_cpus is not None and ray is None:
        raise ConfigurationError("--ray-cpus is for --ray ADDRESS.")
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    given = Input(tuple(sources), _listed(), b"\0" if null else b"\n", column)
    output = Output(out, mode, coco, coco_annotations, images)
    wanted = Wanted(task, model, tuple(option or ()))
    cluster = None if ray is None else Cluster(ray, ray_cpus)
    _exit_with(predict(_settings(models, device), wanted, given, output, cluster))


def evaluate_command(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folder of the images, or tar shards and Parquet files with labels in them; s3:// and other URLs too",
            metavar="SOURCE...",
            show_default=False,
        ),
    ],
    task: TaskOption,
    model: ModelOption = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Known answers: a folder with a folder for each class, a CSV (file, label or mask), COCO annotations, "
            "or a folder of PNG masks, also as s3:// and other URLs; default: what SOURCE holds"
        ),
    ] = None,
    option: OptionsOption = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the images in Parquet files")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels in Parquet files")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON, too")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file")] = False,
    models: ModelsOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure a model on images with known answers: top-1 and top-5, mAP, or mean IoU.

    Exits with 1 when an image could not be measured.

    Example: foveal evaluate val2017/ --task detect --labels instances_val2017.json
    """
    given = Evaluation(tuple(sources), labels, column, label_column, out, overwrite)
    wanted = Wanted(task, model, tuple(option or ()))
    _exit_with(evaluate(_settings(models, device), wanted, given, wide_console()))


def _listed() -> BinaryIO:
    """Return stdin without its buffer, whose lock a thread that waits for the next path would hold at the end."""
    if sys.stdin is None:  # it was closed before the start
        return BytesIO()
    buffer = sys.stdin.buffer
    raw: BinaryIO = getattr(buffer, "raw", buffer)
    return raw


def _settings(models: str | None, device: str | None) -> Settings:
    settings = read_settings(os.environ, {"models": models, "device": device})
    configure_logs("critical", "text", sys.stderr)
    return settings


def _exit_with(work: Coroutine[Any, Any, int]) -> None:
    """End the command with the status that the work returns."""
    try:
        status = asyncio.run(work)
    except asyncio.CancelledError:  # a second Ctrl-C
        status = signal_status(SIGINT)
    raise typer.Exit(status)
