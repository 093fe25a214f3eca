"""The `foveal` command: what serves, predicts and evaluates, and what looks after models, settings and keys."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.app import create_app
from service.bulk.commands import evaluate_command, predict_command
from service.command_options import DeviceOption, ModelsOption
from service.doctor import BAD, GOOD, describe_host, describe_models
from service.engine import Engine, open_engine
from service.errors import ConfigurationError
from service.keys import SCOPES, add_entry, as_entry, new_key
from service.logs import LOGGER, configure_logs
from service.planning.balancing import BALANCERS
from service.planning.command import Wanted, measured_before, measured_here, notes_on
from service.planning.kept_load import LoadCache
from service.planning.measuring import Settings as MeasuredSettings
from service.planning.page import as_json, print_plan
from service.planning.plan import Planner, Target, check_target
from service.planning.profile import Profile, write_profile
from service.planning.worker_count import MEASURED_WITH, count_workers
from service.processes.reload import reload_models
from service.processes.server import listen, url_of
from service.processes.supervisor import Supervisor
from service.processes.worker import answers_before, end_seconds, make_service, summary, work
from service.reference.pages import PAGES
from service.runtime.host import granted_threads
from service.runtime.probing import find_device
from service.settings import Settings, read_settings
from service.storage.file_system import open_remote
from service.storage.lock_file import LOCK_FILE, read_lock
from service.storage.locking import lock_models
from service.storage.pulling import Puller
from service.storage.storage import Found, ModelStorage
from service.storage.url import StorageUrl, parse_url
from service.wiring import make_fetching, make_storage

log = logging.getLogger(LOGGER)

WARM_SECONDS = 86_400.0
"""How long `foveal warm` waits for a model: a device may compile for hours."""

cli = typer.Typer(
    help="Serve trained vision networks over HTTP. Every option can also be set as FOVEAL_… in the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

key_commands = typer.Typer(help="Make API keys.", no_args_is_help=True)
cli.add_typer(key_commands, name="key")
cli.command("predict")(predict_command)
cli.command("evaluate")(evaluate_command)


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


@cli.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any free one")] = None,
    models: ModelsOption = None,
    device: DeviceOption = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Processes that serve; more than 1 pays for tiny networks only. auto: measured"
        ),
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, see `foveal key`")] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="Certificate chain in PEM: HTTPS")
    ] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="Its private key in PEM")] = None,
    ssl_ca_certs: Annotated[
        Path | None, typer.Option(help="Authorities in PEM that sign the certificates of clients")
    ] = None,
) -> None:
    """Start the service.

    Example: foveal serve --port 8000 --models models
    """
    settings = read_settings(
        os.environ,
        {
            "host": host,
            "port": port,
            "models": models,
            "device": device,
            "workers": workers,
            "keys": keys,
            "ssl_certfile": ssl_certfile,
            "ssl_keyfile": ssl_keyfile,
            "ssl_ca_certs": ssl_ca_certs,
        },
    )
    configure_logs(settings.log_level, settings.log_format, sys.stdout)
    listener = listen(settings.host, settings.port)
    log.info(
        "Foveal %s starts with the models in %s on device %s",
        version("foveal"),
        settings.models,
        settings.device,
    )
    settings = _with_workers(settings)
    settings.require_worker_for_each_device()
    if settings.processes == 1:
        settings = settings.of_worker(0)
    scheme = "http" if settings.ssl_certfile is None else "https"
    announce = partial(_announce, settings, url_of(listener, scheme))
    count = settings.processes
    if count == 1:
        with answers_before(settings, listener):
            service = make_service(settings, lambda loaded: announce(summary(loaded)))
        service.run([listener])
        return
    if count > granted_threads():
        log.warning(
            "%d workers share %d cores; one a core is the most that pays",
            count,
            granted_threads(),
        )
    supervisor = Supervisor(
        partial(work, settings),
        listener,
        count,
        on_loaded=lambda models: announce(f"{models} with {count} workers"),
        end_seconds=end_seconds(settings),
    )
    raise typer.Exit(supervisor.run())


def _with_workers(settings: Settings) -> Settings:
    """Return the settings with a number of workers; measure it where it is `auto`."""
    if settings.workers != "auto":
        return settings
    with closing(make_storage(settings)) as storage:
        storage.refresh()
        cache = LoadCache(settings.cache / "workers")
        found = count_workers(storage.folder, settings.as_environment(MEASURED_WITH), cache)
    return settings.model_copy(update={"workers": found.count})


def _announce(settings: Settings, url: str, serves: str) -> None:
    log.info("Foveal at %s serves %s", url, serves)
    if settings.keys is None:
        log.warning(
            "No API keys are set: whoever reaches %s port %s may use this service. Set FOVEAL_KEYS to a file of keys; "
            "`foveal key new` makes one.",
            settings.host,
            url.rpartition(":")[2],
        )


@cli.command()
def models(models: ModelsOption = None) -> None:
    """List the models of the repository, what they are and what an image costs."""
    settings = read_settings(os.environ, {"models": models})
    with closing(make_storage(settings)) as storage:
        describe_models(_wide_console(), *_found(storage))


def _found(storage: ModelStorage) -> Found:
    storage.refresh()
    return storage.scan()


@cli.command()
def pull(
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
    place = settings.models if source is None else parse_url(source)
    if not isinstance(place, StorageUrl):
        raise ConfigurationError("Name the place to copy from: --from s3://BUCKET/PREFIX.")
    if models is None:
        models = settings.models if isinstance(settings.models, Path) else Path("models")
    lock = None if settings.models_lock is None else read_lock(settings.models_lock)
    puller = Puller(open_remote(place), models, lock, make_fetching(settings).pace)
    for one in wanted:
        typer.echo(puller.pull(one))


@cli.command()
def lock(
    *,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[:VERSION]]...", help="What to pin; all that can be served"),
    ] = None,
    models: ModelsOption = None,
    file: Annotated[Path | None, typer.Option("--lock", help="The file to write")] = None,
) -> None:
    """Pin the models by the digests of their files: write foveal.lock, for FOVEAL_MODELS_LOCK.

    Exits with 1 when a model can not be served, and so is not pinned.

    Example: foveal lock --models s3://models/vision
    """
    settings = read_settings(os.environ, {"models": models})
    configure_logs(settings.log_level, "text", sys.stderr)
    path = file or settings.models_lock or Path(LOCK_FILE)
    with closing(make_storage(settings.model_copy(update={"models_lock": None}))) as storage:
        reasons = lock_models(storage, path, wanted or ())
    console = _wide_console()
    for pin in read_lock(path).pins.values():
        console.print(f"{GOOD} {pin.name}:{pin.version} {pin.digest}", highlight=False)
    for reason in reasons:
        console.print(f"{BAD} {escape(reason)}")
    raise typer.Exit(1 if reasons else 0)


@cli.command()
def warm(models: ModelsOption = None, device: DeviceOption = None) -> None:
    """Load every model once and end, so that what the device compiles lies in FOVEAL_CACHE before the service starts.

    TensorRT builds its engines for minutes: run this with the service's settings, beside the one that still serves.
    Exits with 1 when a model can not be loaded.
    """
    settings = read_settings(os.environ, {"models": models, "device": device})
    raise typer.Exit(asyncio.run(_warm(settings)))


async def _warm(settings: Settings) -> int:
    console = _wide_console()
    patient = settings.model_copy(update={"load_seconds": WARM_SECONDS})
    async with open_engine(patient) as engine:
        registry = engine.registry
        for model in registry.models:
            if model.state == "ready":
                precision = f" in {model.precision}" if model.choice is not None else ""
                console.print(f"{GOOD} {model}{precision} on {registry.device_of(model)}")
        failures = engine.not_ready()
    for failure in failures:
        console.print(BAD, escape(failure))
    return 1 if failures else 0


@cli.command()
def reload(
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
    raise typer.Exit(reload_models(_wide_console(), url, _key_in(key_file)))


def _key_in(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return (sys.stdin.read() if str(file) == "-" else file.read_text()).strip()
    except OSError as error:
        raise ConfigurationError(f"{file} can not be read: {error.strerror or error}.") from error


@cli.command()
def reference(
    page: Annotated[str, typer.Argument(help=", ".join(PAGES), metavar="PAGE")],
) -> None:
    """Print a page of reference that is made from the code, as Markdown.

    Example: foveal reference settings
    """
    if page not in PAGES:
        raise typer.BadParameter(f"there is no page {page!r}. Pages: {', '.join(PAGES)}.")
    typer.echo(PAGES[page]().rstrip())


@cli.command()
def openapi(models: ModelsOption = None) -> None:
    """Print the OpenAPI document, to generate clients from; the service gives the same at /openapi.json."""
    settings = read_settings(os.environ, {"models": models})
    document = create_app(Engine(settings), settings).fastapi.openapi()
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False))


@cli.command()
def doctor(models: ModelsOption = None, device: DeviceOption = None) -> None:
    """Say what this machine offers, why a device is not usable, and whether each model's certificate holds.

    Exits with 1 when the configured device does not work or a model can not be served.
    """
    settings = read_settings(os.environ, {"models": models, "device": device})
    console = _wide_console()
    healthy = describe_host(console, settings.device, settings.device_id)
    with closing(make_storage(settings)) as storage:
        healthy &= describe_models(
            console, *_found(storage), prove=True, max_tensor_bytes=settings.max_tensor_bytes
        )
    raise typer.Exit(0 if healthy else 1)


@cli.command()
def plan(
    *,
    rps: Annotated[float, typer.Option(help="Requests a second, one image each")],
    p99: Annotated[float, typer.Option(help="Milliseconds within which 99 % are answered")],
    model: Annotated[str | None, typer.Option(help="NAME or NAME:VERSION")] = None,
    models: ModelsOption = None,
    device: DeviceOption = None,
    image: Annotated[
        str | None, typer.Option(help="A size such as 640x480 (a JPEG of it), or an image file")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes on each machine")] = None,
    balancer: Annotated[str, typer.Option(help=", ".join(BALANCERS))] = "least-outstanding",
    measured: Annotated[
        Path | None, typer.Option(help="Plan with this file of --save, instead of measuring here")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the measurement to this file")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Say how many machines answer so many requests within so many milliseconds.

    Measures the model on this machine for some seconds, then simulates machines like it behind a balancer.

    Example: foveal plan --rps 500 --p99 50 --model efficientnet-lite0 --image 640x480
    """
    target = Target(rps, p99 / 1e3)
    check_target(target)
    if balancer not in BALANCERS:
        raise typer.BadParameter(
            f"there is no balancer {balancer!r}. Balancers: {', '.join(BALANCERS)}."
        )
    settings = read_settings(os.environ, {"models": models, "device": device, "workers": workers})
    say = Console(stderr=True, highlight=False)

    def progress(text: str) -> None:
        say.print(f"[dim]{escape(text)} …[/]")

    profile = _measurement(settings, Wanted(model, device, image, workers), measured, progress)
    if save is not None:
        write_profile(profile, save)
    replica = profile.replica(
        queue_size=settings.queue_size,
        timeout=settings.timeout_ms / 1e3,
        max_delay=settings.max_delay_ms / 1e3,
    )
    here = settings.models if isinstance(settings.models, Path) else None
    notes = notes_on(profile, here, measured=measured is not None)
    made = Planner(profile, replica, balancer=balancer, seed=seed, progress=progress).plan(target)
    if json_output:
        typer.echo(json.dumps(as_json(profile, replica, made, notes), indent=1))
    else:
        print_plan(_wide_console(), profile, replica, made, notes)


def _measurement(
    settings: Settings, wanted: Wanted, file: Path | None, progress: Callable[[str], None]
) -> Profile:
    if file is not None:
        return measured_before(file, wanted)
    measured = MeasuredSettings(
        device=find_device(settings.device, settings.device_id),
        cache=settings.cache.expanduser(),
        threads=settings.threads,
        instances=settings.instances,
        largest=settings.max_batch,
        graphs=settings.cuda_graphs,
        deterministic=settings.deterministic,
        processes=settings.processes,
    )
    with closing(make_storage(settings)) as storage:
        servables, _ = _found(storage)
        return measured_here(servables, wanted, measured, progress)


@key_commands.command("new")
def key_new(
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


def _wide_console() -> Console:
    """Away from a terminal Rich assumes 80 columns, and `docker run` would fold every row."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def main() -> None:
    """Run the command; what the operator can mend is one line, not a traceback."""
    try:
        cli()
    except ConfigurationError as error:
        Console(stderr=True).print("[red bold]foveal:[/]", escape(str(error)), highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
