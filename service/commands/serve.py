"""`foveal serve`: the settings of a service, its socket, and one process or several."""

import logging
import os
import sys
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from service.command_options import DeviceOption, ModelsOption
from service.logs import LOGGER, configure_logs
from service.planning.kept_load import LoadCache
from service.planning.worker_count import MEASURED_WITH, count_workers
from service.processes.server import listen, url_of
from service.processes.supervisor import Supervisor
from service.processes.worker import answers_before, end_seconds, make_service, summary, work
from service.runtime.host import granted_threads
from service.settings import Settings, read_settings
from service.wiring import make_storage

log = logging.getLogger(LOGGER)


def serve_command(
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
