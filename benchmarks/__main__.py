"""`python -m benchmarks`: measures the service, the machine's limit and the peers in one run."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cases import CASES, Case
from benchmarks.commit import describe_commit
from benchmarks.contenders import CACHE, PEERS, ROOT
from benchmarks.environments import InstallError, ensure_environment
from benchmarks.explained import run_explained
from benchmarks.goals import GOALS
from benchmarks.goals import ROUNDS as GOAL_ROUNDS
from benchmarks.index import write_index
from benchmarks.isolated import run_isolated
from benchmarks.journal import Journal
from benchmarks.load import Generator, NoGeneratorError, find_generator
from benchmarks.machine import describe_machine
from benchmarks.models import ExportError
from benchmarks.plan import GPU_DEVICES, Plan
from benchmarks.plots import draw_plots
from benchmarks.report import MARKDOWN, Run, load_results, write_report
from benchmarks.resizes import longest_wait, run_resizes
from benchmarks.results import CaseResult
from benchmarks.runner import Runner
from benchmarks.server import StartError
from benchmarks.statistics import Spread
from benchmarks.time_left import plan_time
from benchmarks.video import run_video
from service.runtime.host import granted_threads

RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 3
QUICK = 0.5
"""Factor on every case's seconds with --quick."""

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def bench(
    only: Annotated[list[str] | None, typer.Option(help="Name of a case; can be repeated")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"How many turns each contender takes [3; {GOAL_ROUNDS} with --goals]"
        ),
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few cases, short turns, no tuning")
    ] = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Measure cuda and tensorrt against their limits")
    ] = False,
    goals: Annotated[
        bool,
        typer.Option("--goals", help="Measure what the fast recipe must reach, and nothing else"),
    ] = False,
    peers: Annotated[bool, typer.Option(help="Measure the peers too")] = True,
    tune: Annotated[bool, typer.Option("--tune", help="Try the peers' settings again")] = False,
    explained: Annotated[
        bool, typer.Option("--explained", help="Instead: measure the cost of a loaded explainer")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Instead: compare a video with its frames as images")
    ] = False,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Instead: measure the cost of FOVEAL_DECODE=isolated")
    ] = False,
    resizes: Annotated[
        bool, typer.Option("--resizes", help="Instead: compare the resize by SIMD with Pillow's")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(help="Only draw the plots of this results.json again")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew where an interrupted run could be continued")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results")] = None,
) -> None:
    """Measure, then write a page, a JSON file and plots to benchmarks/results/<date>-<machine>/."""
    # A SIGTERM becomes an exception, so that the run also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if draw is not None:
        draw_plots(load_results(json.loads(draw.read_text())), draw.parent)
        return None
    rounds = rounds or (GOAL_ROUNDS if goals else ROUNDS)
    if resizes:
        return _resizes(rounds)
    generator = _generator()
    CACHE.mkdir(parents=True, exist_ok=True)
    if video:
        return _video(rounds, generator)
    if explained:
        return _explained(rounds, generator)
    if isolated:
        return _isolated(rounds, generator)
    plan = Plan(
        generator=generator,
        cores=granted_threads(),
        rounds=rounds,
        shorten=QUICK if quick else 1.0,
        quick=quick,
        peers=peers and not gpu,
        devices=GPU_DEVICES if gpu else (),
        retune=tune,
        progress=_print,
    )
    suffix = "".join(
        f"-{word}" for word, is_set in [("gpu", gpu), ("goals", goals), ("quick", quick)] if is_set
    )
    chosen = _chosen(only or [], GOALS) if goals else _chosen(only or [], CASES)
    if not only and not goals:
        chosen = [case for case in chosen if (case.quick or not quick) and (case.gpu or not gpu)]
    return _compare(plan, chosen, out, suffix, again=again)


def _compare(plan: Plan, cases: list[Case], out: Path | None, suffix: str, *, again: bool) -> None:
    """Measure the cases; after each one write the page, the JSON file and the plots.

    An interrupted run of the same machine, commit and options is continued.
    """
    machine, commit = describe_machine(), describe_commit()
    identity = {"machine": asdict(machine), "commit": commit, **plan.identity}
    identity["cases"] = [case.name for case in cases]
    today = datetime.now(UTC).date().isoformat()
    journal = Journal(CACHE / "runs", identity, today=today, again=again)
    if journal.continued:
        _print(f"An interrupted run of {journal.date} is continued; --again begins anew")
    folder = out or RESULTS / f"{journal.date}-{machine.slug}{suffix}"

    def write(results: list[CaseResult], missing: list[str]) -> None:
        run = Run(
            journal.date,
            machine,
            plan.generator.name,
            plan.rounds,
            shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
            tuple(results),
            plan.peers,
            commit,
            tuple(missing),
        )
        write_report(run, folder, draw_plots(results, folder))
        write_index()
        _print(f"written: {folder / MARKDOWN}")

    try:
        _measure(cases, plan, journal, write)
    except (KeyboardInterrupt, SystemExit):
        _print("Interrupted. What was measured is kept: the same command goes on from there.")
        raise
    journal.end()


def _video(rounds: int, generator: Generator) -> None:
    found = run_video(rounds, generator, _print)
    _print(
        f"Video frames: {_format_spread(found.throughput)} times the throughput of its frames as images. "
        f"Median latency of an image beside a video: {_format_spread(found.latency)} times that without it"
    )


def _explained(rounds: int, generator: Generator) -> None:
    share = run_explained(rounds, generator, _print)
    _print(
        f"With a loaded explainer: {share.median:.3f} of the throughput without it "
        f"[{share.low:.3f}–{share.high:.3f}]"
    )


def _isolated(rounds: int, generator: Generator) -> None:
    for found in run_isolated(rounds, generator, _print):
        _print(
            f"{found.title}, {found.clients} clients, isolated: {_format_spread(found.throughput)} times the "
            f"throughput, {_format_spread(found.latency)} times the median latency, "
            f"{_format_spread(found.cpu)} times the CPU time"
        )


def _resizes(rounds: int) -> None:
    for found in run_resizes(rounds):
        _print(
            f"{found.title}: {found.simd_ms:.3f} ms, {_format_spread(found.ratio)} of Pillow's {found.pillow_ms:.3f}; "
            f"{found.share:.2%} of the values differ, by {found.largest} at most"
        )
    _print(f"Another thread waits for at most {longest_wait():.2f} of a long resize")


def _generator() -> Generator:
    try:
        return find_generator()
    except NoGeneratorError as error:
        _print(str(error))
        raise typer.Exit(2) from error


def _chosen(only: list[str], cases: Sequence[Case]) -> list[Case]:
    """Return the cases that are named, or all of them."""
    known = {case.name: case for case in cases}
    unknown = [name for name in only if name not in known]
    if unknown:
        _print(f"There is no case {', '.join(unknown)}. Cases: {', '.join(known)}")
        raise typer.Exit(2)
    return [case for case in cases if case.name in only or not only]


def _measure(
    cases: list[Case],
    plan: Plan,
    journal: Journal,
    write: Callable[[list[CaseResult], list[str]], None],
) -> None:
    if plan.peers:
        _install_peers({name for case in cases for name in case.peers})
    left = plan_time(cases, plan, [journal.result_of(case.name) for case in cases])
    _print(f"{left}")
    runner = Runner(plan, journal, left)
    results: list[CaseResult] = []
    for number, case in enumerate(cases, 1):
        began = time.perf_counter()
        _print(f"{case.title} ({number} of {len(cases)})")
        try:
            results.append(runner.run(case))
        except (ExportError, StartError) as error:
            _print(f"  {case.name} is not measured: {error}")
            continue
        _print(f"  {time.perf_counter() - began:.0f} s")
        if any(result.rounds for result in results):
            write(results, [case.name for case in cases[number:]])
    if not any(result.rounds for result in results):
        _print("Nothing was measured.")
        raise typer.Exit(1)


def _install_peers(names: Collection[str]) -> None:
    """Install first: an installer would take the cores from the contenders."""
    for peer in PEERS:
        if peer.name not in names:
            continue
        try:
            _print(f"{peer.name} {ensure_environment(peer)} is installed")
        except InstallError as error:
            _print(f"{peer.name} can not be installed: {error}")


def _format_spread(found: Spread) -> str:
    return f"{found.median:.2f} [{found.low:.2f}–{found.high:.2f}]"


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    cli()
