"""`python -m benchmarks.soak`: does anything grow under an hour of mixed load?"""

import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.contenders import CACHE, ROOT
from benchmarks.machine import describe_machine
from benchmarks.soak.plot import draw
from benchmarks.soak.run import Plan, Soak, run_soak

RESULTS = ROOT / "benchmarks" / "results"


cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def main(
    minutes: Annotated[float, typer.Option(min=1, help="How long the load lasts")] = 60,
    load: Annotated[
        float, typer.Option(min=0.05, max=1, help="Share of the capacity that is sent")
    ] = 0.7,
    out: Annotated[Path | None, typer.Option(help="Folder for the result and its plot")] = None,
) -> None:
    """Load the service with every kind of request, and end with 1 if something grew or failed.

    The result and its plot are soak.json and soak.svg. The samples are in .cache/bench/soak/samples.jsonl.
    """
    # A SIGTERM becomes an exception, so that the run also ends the service.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine, today = describe_machine(), datetime.now(UTC).date().isoformat()
    folder = out or RESULTS / f"{today}-{machine.slug}-soak"
    plan = Plan(minutes * 60, load, CACHE / "soak", _print)
    found, samples = run_soak(plan)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(
        json.dumps({"date": today, **asdict(found)}, indent=1, ensure_ascii=False) + "\n"
    )
    title = f"{found.rate:.1f} requests per second, {load:.0%} of the capacity at the start"
    draw(samples, plan.warm_up_seconds, title, folder / "soak.svg")
    _print(_table(found))
    _print(f"written: {folder}")
    for problem in found.problems:
        _print(f"FAILED: {problem}")
    raise typer.Exit(1 if found.problems else 0)


def _table(found: Soak) -> str:
    rows = [f"{'':12}{'start':>9}{'warm':>9}{'end':>9}{'growth':>9}{'allowed':>9}"]
    rows += [
        f"{one.name:12}{one.start:9.0f}{one.warm:9.0f}{one.end:9.0f}{one.growth:+9.1f}{one.allowed:9.1f}"
        for one in found.verdicts
    ]
    return "\n".join(rows)


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    cli()
