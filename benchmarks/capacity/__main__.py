"""`python -m benchmarks.capacity`: a running service beside what `foveal plan` predicts, and a plot of its plans."""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from benchmarks.capacity.comparison import Level, compare
from benchmarks.capacity.curves import MACHINES, MOST_REQUESTS, SHARES, Curve, curves_of
from benchmarks.capacity.page import page_of
from benchmarks.capacity.plot import draw_curves
from benchmarks.contenders import CACHE, ROOT
from benchmarks.machine import describe_machine
from service.planning.command import find_servable
from service.planning.measuring import Settings, measure
from service.planning.profile import Profile, read_profile, write_profile
from service.planning.sample_image import sample_image
from service.runtime.probing import find_device
from service.runtime.repository import scan_repository

LOADS = (0.3, 0.6, 0.85, 1.3)
QUICK_SHARES, QUICK_REQUESTS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9), 20_000

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def capacity(
    *,
    model: Annotated[str, typer.Option(help="Of the repository models/")] = "efficientnet-lite0",
    image: Annotated[str, typer.Option(help="A size or a file")] = "640x480",
    workers: Annotated[int, typer.Option(min=1, help="Processes of the service")] = 1,
    device: Annotated[str, typer.Option(help="As of `foveal serve`")] = "auto",
    load: Annotated[
        list[float] | None, typer.Option(help="Share of the full load; can be repeated")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long each load is sent")] = 60.0,
    measured: Annotated[
        Path | None, typer.Option(help="A file of `foveal plan --save`; none: measure now")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few points in the plot")] = False,
    draw: Annotated[
        Path | None, typer.Option(help="Only draw the plot of this capacity.json again")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results")] = None,
) -> None:
    """Measure, compare with the simulation, simulate 1 to 1,000 machines; write a page, a JSON file and a plot."""
    # A SIGTERM becomes an exception, so that the run also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if draw is not None:
        found = json.loads(draw.read_text())
        profile = Profile.model_validate(found["measurement"])
        _draw(profile, TypeAdapter(list[Curve]).validate_python(found["curves"]), draw.parent)
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    servable = find_servable(scan_repository(ROOT / "models")[0], model)
    body = sample_image(image)
    settings = Settings(find_device(device), CACHE / "capacity", processes=workers)
    profile = read_profile(measured) if measured else measure(servable, body, settings, _print)
    levels = compare(
        profile,
        servable,
        body,
        shares=load or LOADS,
        seconds=seconds,
        progress=_print,
    )
    curves = curves_of(
        profile,
        _print,
        machines=MACHINES,
        shares=QUICK_SHARES if quick else SHARES,
        most_requests=QUICK_REQUESTS if quick else MOST_REQUESTS,
    )
    _write(profile, levels, curves, out)


def _write(profile: Profile, levels: list[Level], curves: list[Curve], out: Path | None) -> None:
    today = datetime.now(UTC).date().isoformat()
    folder = out or ROOT / "benchmarks" / "results" / f"{today}-{describe_machine().slug}-capacity"
    folder.mkdir(parents=True, exist_ok=True)
    write_profile(profile, folder / "measurement.json")
    results: dict[str, Any] = {
        "measurement": profile.model_dump(mode="json"),
        "levels": [level.as_json() for level in levels],
        "curves": TypeAdapter(list[Curve]).dump_python(curves, mode="json"),
    }
    (folder / "capacity.json").write_text(json.dumps(results, indent=1) + "\n")
    command = " ".join(["python -m benchmarks.capacity", *sys.argv[1:]])
    (folder / "README.md").write_text(page_of(profile, levels, command))
    _draw(profile, curves, folder)
    _print(f"written: {folder / 'README.md'}")


def _draw(profile: Profile, curves: list[Curve], folder: Path) -> None:
    title = f"p99 against load, simulated from {profile.model} on {profile.machine.cores} cores"
    draw_curves(curves, profile.replica().alone, title, folder / "capacity.svg")


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    cli()
