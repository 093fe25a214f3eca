"""`foveal plan`: how many machines a load needs."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.command_options import DeviceOption, ModelsOption
from service.commands.output import found_in, wide_console
from service.planning.balancing import BALANCERS
from service.planning.command import Wanted, measured_before, measured_here, notes_on
from service.planning.measuring import Settings as MeasuredSettings
from service.planning.page import as_json, print_plan
from service.planning.plan import Planner, Target, check_target
from service.planning.profile import Profile, write_profile
from service.runtime.probing import find_device
from service.settings import Settings, read_settings
from service.wiring import make_storage


def plan_command(
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
        print_plan(wide_console(), profile, replica, made, notes)


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
        servables, _ = found_in(storage)
        return measured_here(servables, wanted, measured, progress)
