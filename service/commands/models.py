"""`foveal models`, `doctor` and `warm`: what is served here, whether it can be, and its compilation ahead of time."""

import asyncio
import os
from contextlib import closing

import typer
from rich.markup import escape

from service.command_options import DeviceOption, ModelsOption
from service.commands.output import found_in, wide_console
from service.doctor import BAD, GOOD, describe_host, describe_models
from service.engine import open_engine
from service.settings import Settings, read_settings
from service.wiring import make_storage

WARM_SECONDS = 86_400.0
"""How long `foveal warm` waits for a model: a device may compile for hours."""


def models_command(models: ModelsOption = None) -> None:
    """List the models of the repository, what they are and what an image costs."""
    settings = read_settings(os.environ, {"models": models})
    with closing(make_storage(settings)) as storage:
        describe_models(wide_console(), *found_in(storage))


def doctor_command(models: ModelsOption = None, device: DeviceOption = None) -> None:
    """Say what this machine offers, why a device is not usable, and whether each model's certificate holds.

    Exits with 1 when the configured device does not work or a model can not be served.
    """
    settings = read_settings(os.environ, {"models": models, "device": device})
    console = wide_console()
    healthy = describe_host(console, settings.device, settings.device_id)
    with closing(make_storage(settings)) as storage:
        healthy &= describe_models(
            console, *found_in(storage), prove=True, max_tensor_bytes=settings.max_tensor_bytes
        )
    raise typer.Exit(0 if healthy else 1)


def warm_command(models: ModelsOption = None, device: DeviceOption = None) -> None:
    """Load every model once and end, so that what the device compiles lies in FOVEAL_CACHE before the service starts.

    TensorRT builds its engines for minutes: run this with the service's settings, beside the one that still serves.
    Exits with 1 when a model can not be loaded.
    """
    settings = read_settings(os.environ, {"models": models, "device": device})
    raise typer.Exit(asyncio.run(_warm(settings)))


async def _warm(settings: Settings) -> int:
    console = wide_console()
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
