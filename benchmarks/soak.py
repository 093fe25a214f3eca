"""Runs every task in turn for a long time, to see whether memory stays flat and whether requests fail."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.contenders import CACHE, foveal_command
from benchmarks.images import Body
from benchmarks.load import Generator, LoadRun
from benchmarks.models import REPOSITORY, repository_of
from benchmarks.plots import draw_soak
from benchmarks.server import free_port, run_server
from benchmarks.usage import MemoryWatch

CLIENTS = 32
TURN_SECONDS = 10.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Soak:
    seconds: float
    answered: int
    failed: int
    peak_mib: float
    growth_mib: float
    """The peak of the second half minus that of the first; each half should run every task more than once."""
    times: list[float]
    mebibytes: list[float]


def run_soak(
    seconds: float, generator: Generator, folder: Path, progress: Callable[[str], None]
) -> Soak:
    """Load the service with its default models for `seconds` and write `soak.json` and `soak.svg`."""
    cases = [case for case in CASES if repository_of(case.model) == REPOSITORY]
    bodies = {case.name: Body(case.image, CACHE / "bodies") for case in cases}
    port = free_port()
    answered = failed = 0
    with (
        run_server(
            foveal_command(port),
            {"FOVEAL_MODELS": str(REPOSITORY)},
            port=port,
            probe=("/health/ready", None, ""),
            log=CACHE / "logs" / "soak-foveal.log",
        ) as server,
        MemoryWatch(server.tree, every_seconds=2.0) as memory,
    ):
        until = time.perf_counter() + seconds
        turn = 0
        while (left := until - time.perf_counter()) > 1:
            case = cases[turn % len(cases)]
            run = _load_run(case, bodies[case.name], server.url(case.path), min(TURN_SECONDS, left))
            outcome = generator.run(run)
            answered, failed, turn = answered + outcome.answered, failed + outcome.failed, turn + 1
            progress(
                f"  {case.name}: {outcome.answered} answered, {outcome.failed} failed, "
                f"{memory.bytes[-1] / MIB:.0f} MiB, {max(0.0, left):.0f} s left"
            )
    half = len(memory.bytes) // 2
    mebibytes = [round(value / MIB, 1) for value in memory.bytes]
    found = Soak(
        seconds=seconds,
        answered=answered,
        failed=failed,
        peak_mib=max(mebibytes),
        growth_mib=round(max(mebibytes[half:]) - max(mebibytes[:half]), 1),
        times=[round(second, 1) for second in memory.seconds],
        mebibytes=mebibytes,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(asdict(found)) + "\n")
    draw_soak(found.times, found.mebibytes, folder / "soak.svg")
    return found


def _load_run(case: Case, body: Body, url: str, seconds: float) -> LoadRun:
    clients = min(CLIENTS, max(load.clients for load in case.loads))
    return LoadRun(url, body.file, body.content_type, clients, seconds, case.few_answers)
