"""`python -m benchmarks`: the service beside the machine's limit and its peers, in one run."""

import json
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cases import CASES, Case
from benchmarks.contenders import CACHE, PEERS, ROOT
from benchmarks.environments import InstallError, ensure_environment
from benchmarks.explained import run_explained
from benchmarks.load import Generator, NoGeneratorError, find_generator
from benchmarks.machine import describe_machine
from benchmarks.models import ExportError
from benchmarks.plots import draw_plots
from benchmarks.report import MARKDOWN, Run, load_results, write_report
from benchmarks.results import CaseResult
from benchmarks.runner import GPU_DEVICES, Plan, run_case
from benchmarks.server import StartError
from benchmarks.soak import run_soak
from benchmarks.statistics import Spread
from benchmarks.video import run_video
from service.runtime.host import granted_threads

RESULTS = ROOT / "benchmarks" / "results"
QUICK = 0.5
"""Factor on every case's seconds with --quick."""

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def bench(
    only: Annotated[
        list[str] | None, typer.Option(help="A case; may be given several times")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes")] = 3,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few cases, short turns, no tuning")
    ] = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="cuda and tensorrt against their limits")
    ] = False,
    peers: Annotated[bool, typer.Option(help="Measure the peers too")] = True,
    tune: Annotated[bool, typer.Option("--tune", help="Sweep the peers' settings again")] = False,
    soak: Annotated[float, typer.Option(help="Instead: seconds under load, watching memory")] = 0,
    explained: Annotated[
        bool, typer.Option("--explained", help="Instead: the cost of a loaded explainer")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Instead: a clip beside its frames, and beside images")
    ] = False,
    draw: Annotated[Path | None, typer.Option(help="Only draw a results.json again")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results")] = None,
) -> None:
    """Measure, and write a page, a JSON file and plots under benchmarks/results/<date>-<machine>/."""
    # So that a run that is told to end ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if draw is not None:
        draw_plots(load_results(json.loads(draw.read_text())), draw.parent)
        return
    generator = _generator()
    machine = describe_machine()
    today = datetime.now(UTC).date().isoformat()
    kind = "-gpu" if gpu else ""
    folder = out or RESULTS / f"{today}-{machine.slug}{kind}{'-quick' if quick else ''}"
    CACHE.mkdir(parents=True, exist_ok=True)
    if soak:
        found = run_soak(soak, generator, folder, _say)
        _say(
            f"{found.answered} answered, {found.failed} not; peak {found.peak_mib:.0f} MiB, "
            f"in the second half {found.growth_mib:+.1f} over the first; {folder}"
        )
        return
    if video:
        found_video = run_video(rounds, generator, _say)
        _say(
            f"A clip's frames at {_told(found_video.throughput)} of the throughput of the same frames as images; "
            f"an image's median latency beside a clip {_told(found_video.latency)} times that alone"
        )
        return
    if explained:
        share = run_explained(rounds, generator, _say)
        _say(
            f"With an explainer loaded {share.median:.3f} of the throughput without "
            f"[{share.low:.3f}–{share.high:.3f}]"
        )
        return
    plan = Plan(
        generator=generator,
        cores=granted_threads(),
        rounds=rounds,
        shorten=QUICK if quick else 1.0,
        quick=quick,
        peers=peers and not gpu,
        devices=GPU_DEVICES if gpu else (),
        retune=tune,
        say=_say,
    )
    results = _measure(_chosen(only or [], quick=quick, gpu=gpu), plan)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    run = Run(today, machine, generator.name, rounds, command, tuple(results), plan.peers)
    write_report(run, folder, draw_plots(results, folder))
    _say(f"written: {folder / MARKDOWN}")


def _generator() -> Generator:
    try:
        return find_generator()
    except NoGeneratorError as error:
        _say(str(error))
        raise typer.Exit(2) from error


def _chosen(only: list[str], *, quick: bool, gpu: bool) -> list[Case]:
    known = {case.name: case for case in CASES}
    unknown = [name for name in only if name not in known]
    if unknown:
        _say(f"There is no case {', '.join(unknown)}. Cases: {', '.join(known)}")
        raise typer.Exit(2)
    return [
        case
        for case in CASES
        if (case.name in only if only else (case.quick or not quick) and (case.gpu or not gpu))
    ]


def _measure(cases: list[Case], plan: Plan) -> list[CaseResult]:
    if plan.peers:
        _install_peers()
    results = []
    for case in cases:
        began = time.perf_counter()
        _say(f"{case.title}")
        try:
            results.append(run_case(case, plan))
        except (ExportError, StartError) as error:
            _say(f"  {case.name} is not measured: {error}")
            continue
        _say(f"  {time.perf_counter() - began:.0f} s")
    if not any(result.rounds for result in results):
        _say("Nothing was measured.")
        raise typer.Exit(1)
    return results


def _install_peers() -> None:
    """Ahead of everything, for an installer would take the cores from who is measured."""
    for peer in PEERS:
        try:
            _say(f"{peer.name} {ensure_environment(peer)} is installed")
        except InstallError as error:
            _say(f"{peer.name} can not be installed: {error}")


def _told(found: Spread) -> str:
    return f"{found.median:.2f} [{found.low:.2f}–{found.high:.2f}]"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    cli()
