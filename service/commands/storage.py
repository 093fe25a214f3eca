"""`foveal pull` and `lock`: models from a place elsewhere, and the digests of what is served."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from service.command_options import ModelsOption
from service.commands.output import wide_console
from service.doctor import BAD, GOOD
from service.errors import ConfigurationError
from service.logs import configure_logs
from service.settings import read_settings
from service.storage.file_system import open_remote
from service.storage.lock_file import LOCK_FILE, read_lock
from service.storage.locking import lock_models
from service.storage.pulling import Puller
from service.storage.url import StorageUrl, is_url, parse_url
from service.wiring import make_fetching, make_storage


def pull_command(
    *,
    wanted: Annotated[list[str], typer.Argument(metavar="NAME[:VERSION]...", help="What to copy")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="Where they lie: s3://, gs://, hf://, https://"),
    ] = None,
    models: Annotated[
        Path | None, typer.Option("--models", help="Folder of the model repository that gets them")
    ] = None,
) -> None:
    """Copy models from a place elsewhere into a folder: the newest version of each, unless one is named.

    A copy that breaks off is gone on with by the next call. Where FOVEAL_MODELS_LOCK is set, what is pinned is copied.

    Example: foveal pull resnet50:3 --from s3://models/vision --models models
    """
    settings = read_settings(os.environ, {})
    configure_logs(settings.log_level, "text", sys.stderr)
    if source is not None and not is_url(source):
        raise ConfigurationError(
            f"--from {source}: this is a folder, and --from names a URL: s3://, gs://, hf://, https://. A folder is "
            "served as it is (--models), and cp -r copies a version."
        )
    place = settings.models if source is None else parse_url(source)
    if not isinstance(place, StorageUrl):
        raise ConfigurationError("Name the place to copy from: --from s3://BUCKET/PREFIX.")
    if models is None:
        models = settings.models if isinstance(settings.models, Path) else Path("models")
    lock = None if settings.models_lock is None else read_lock(settings.models_lock)
    puller = Puller(open_remote(place), models, lock, make_fetching(settings).pace)
    for one in wanted:
        typer.echo(puller.pull(one))


def lock_command(
    *,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[:VERSION]]...", help="What to pin; all that can be served"),
    ] = None,
    models: ModelsOption = None,
    file: Annotated[Path | None, typer.Option("--lock", help="The file to write")] = None,
) -> None:
    """Pin the models by the digests of their files: write foveal.lock, for FOVEAL_MODELS_LOCK.

    Exits with 1 when a model can not be served, and so is not pinned, or a variant beside it can not be used.

    Example: foveal lock --models s3://models/vision
    """
    settings = read_settings(os.environ, {"models": models})
    configure_logs(settings.log_level, "text", sys.stderr)
    path = file or settings.models_lock or Path(LOCK_FILE)
    with closing(make_storage(settings.model_copy(update={"models_lock": None}))) as storage:
        reasons = lock_models(storage, path, wanted or ())
    console = wide_console()
    for pin in read_lock(path).pins.values():
        console.print(f"{GOOD} {pin.name}:{pin.version} {pin.digest}", highlight=False)
    for reason in reasons:
        console.print(f"{BAD} {escape(reason)}")
    raise typer.Exit(1 if reasons else 0)
