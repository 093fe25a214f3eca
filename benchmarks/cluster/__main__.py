"""`python -m benchmarks.cluster soak|throughput`: the service on a Ray cluster of this machine."""

import json
import shutil
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cluster.soak import run_soak
from benchmarks.cluster.throughput import compare
from benchmarks.commit import describe_commit
from benchmarks.contenders import CACHE, ROOT
from benchmarks.images import Body
from benchmarks.machine import describe_machine

RESULTS = ROOT / "benchmarks" / "results"
MODEL = "efficientnet-lite0"
FOLDER = CACHE / "cluster"
IMAGE = "640×480 JPEG"

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Out = Annotated[Path | None, typer.Option(help="Folder for the result")]


@cli.command()
def soak(
    minutes: Annotated[float, typer.Option(min=1, help="How long the load lasts")] = 10,
    kill_seconds: Annotated[float, typer.Option(min=10, help="Time between two kills")] = 40,
    out: Out = None,
) -> None:
    """Kill replicas under load, and end with 1 if a request was lost or a counter fell."""
    found = run_soak(
        minutes * 60,
        kill_seconds,
        models=_models(),
        body=_body(),
        folder=FOLDER,
        progress=_print,
    )
    _write("soak", asdict(found), out)
    for problem in found.problems:
        _print(f"FAILED: {problem}")
    raise typer.Exit(1 if found.problems else 0)


@cli.command()
def throughput(
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each")] = 3,
    clients: Annotated[int, typer.Option(min=1, help="Requests at once")] = 16,
    out: Out = None,
) -> None:
    """Measure one process and Ray by turns, per second of a core."""
    found = compare(
        seconds=seconds,
        rounds=rounds,
        count=clients,
        models=_models(),
        body=_body(),
        folder=FOLDER,
        progress=_print,
    )
    turns = {name: [asdict(one) for one in its] for name, its in found.items()}
    _write("throughput", {"clients": clients, "seconds": seconds, "turns": turns}, out)


def _models() -> Path:
    """Return a repository of one model, so that each process that runs counts."""
    models = FOLDER / "models"
    if not (models / MODEL).is_dir():
        shutil.copytree(ROOT / "models" / MODEL, models / MODEL)
    return models


def _body() -> bytes:
    return Body(IMAGE, CACHE).content


def _write(name: str, found: dict[str, Any], out: Path | None) -> None:
    machine, today = describe_machine(), datetime.now(UTC).date().isoformat()
    folder = out or RESULTS / f"{today}-{machine.slug}-cluster"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"date": today, "commit": describe_commit(), "machine": asdict(machine)}
    text = json.dumps({**facts, "model": MODEL, **found}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")
    _print(text)


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    # A SIGTERM becomes an exception, so that the run also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cli()
