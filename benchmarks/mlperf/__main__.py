"""`python -m benchmarks.mlperf`: the service under MLPerf's own load generator; unofficial, as its page says."""

import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commit import describe_commit
from benchmarks.contenders import CACHE, ROOT, foveal_command
from benchmarks.environments import InstallError, ensure_packages
from benchmarks.images import small_photographs
from benchmarks.index import write_index
from benchmarks.machine import describe_machine
from benchmarks.mlperf.log import DETAIL, SUMMARY, LogError, read_log, result_of
from benchmarks.mlperf.order import Order
from benchmarks.mlperf.page import PAGE, read_results, write_results
from benchmarks.mlperf.result import OFFLINE, SCENARIOS, SERVER, SINGLE_STREAM, Result
from benchmarks.models import ExportError, ensure_model, repository_of
from benchmarks.server import Server, StartError, free_port, run_server
from benchmarks.starting import served_model
from benchmarks.usage import CpuMeter

RESULTS = ROOT / "benchmarks" / "results" / "mlperf"
GENERATOR = "mlcommons-loadgen==6.0.17"
MODELS = ("efficientnet-lite0", "resnet50")
SHARES = (0.9, 0.8, 0.65, 0.5, 0.35)
"""Of the images a second of Offline: the rates that Server tries, until a run is valid."""
BOUND = 5.0
"""Times the 90th percentile of SingleStream: what 99 % of the queries of Server may take, if nothing is given."""
CONNECTIONS = {SINGLE_STREAM: 1, OFFLINE: 32, SERVER: 64}
PATIENCE_SECONDS = 300.0

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class SendError(Exception):
    """The load generator failed; the message is the end of its output."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A service of one model under the load generator, with the results so far."""

    python: Path
    server: Server
    model: str
    precision: str
    bodies: tuple[str, ...]
    seconds: float
    latency_ms: float | None
    folder: Path
    commit: str

    def run(self, scenario: str, known: dict[tuple[str, str], Result]) -> Result:
        """Run a scenario; Server runs at falling rates until one is valid.

        Raises:
            SendError: the generator failed.
            LogError: it wrote no result.
        """
        if scenario != SERVER:
            return self._send(scenario, 1.0, 1.0)
        single, offline = known[self.model, SINGLE_STREAM], known[self.model, OFFLINE]
        bound = self.latency_ms or BOUND * single.p90_ms
        for share in SHARES:
            _print(f"  {share * offline.per_second:.1f} queries/s, 99 % within {bound:.0f} ms?")
            result = self._send(scenario, share * offline.per_second, bound)
            if result.valid:
                break
        return result

    def _send(self, scenario: str, rate: float, latency_ms: float) -> Result:
        out = CACHE / "mlperf" / self.model / scenario
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        order = Order(
            scenario,
            self.server.port,
            self.model,
            self.bodies,
            CONNECTIONS[scenario],
            self.seconds,
            rate,
            latency_ms,
            str(out),
        )
        meter = CpuMeter(self.server.tree)
        found = _run_sender(self.python, order)
        _, foreign = meter.read()
        server = scenario == SERVER
        result = result_of(
            read_log(out / DETAIL),
            self.model,
            scenario,
            date=datetime.now(UTC).date().isoformat(),
            commit=self.commit,
            precision=self.precision,
            seconds=found["seconds"],
            failed=round(found["failed"]),
            foreign_cores=round(foreign, 3),
            sender_cores=round(found["cpu_seconds"] / found["seconds"], 3),
            bound_ms=latency_ms if server else None,
            rate=rate if server else None,
        )
        kept = self.folder / self.model / scenario
        kept.mkdir(parents=True, exist_ok=True)
        for name in (DETAIL, SUMMARY):
            shutil.copyfile(out / name, kept / name)
        return result


@cli.command()
def bench(
    model: Annotated[list[str] | None, typer.Option(help="Of the models; can be repeated")] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Can be repeated")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="The least duration of a run")] = 60,
    latency_ms: Annotated[
        float | None, typer.Option(help="What 99 % of the queries of Server may take")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results")] = None,
) -> None:
    """Run the scenarios; after each one write benchmarks/results/mlperf/<processor>/.

    A run takes a little more than --seconds, and Server up to five of them: 7 to 16 minutes in all.
    """
    chosen = scenario or list(SCENARIOS)
    _require(chosen, SCENARIOS, "scenario")
    _require(model or [], MODELS, "model")
    machine = describe_machine()
    folder = out or RESULTS / machine.slug
    try:
        python = ensure_packages(CACHE / "mlcommons-loadgen", [GENERATOR])
        for name in model or MODELS:
            _run_model(
                name,
                chosen,
                python=python,
                seconds=seconds,
                latency_ms=latency_ms,
                folder=folder,
            )
    except (InstallError, ExportError, StartError, SendError, LogError) as error:
        _print(str(error))
        raise typer.Exit(1) from error
    _print(f"written: {folder / PAGE}")


def _run_model(
    model: str,
    scenarios: list[str],
    *,
    python: Path,
    seconds: float,
    latency_ms: float | None,
    folder: Path,
) -> None:
    ensure_model(model)
    port = free_port()
    with run_server(
        foveal_command(port),
        {"FOVEAL_MODELS": str(repository_of(model))},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / f"mlperf-{model}.log",
    ) as server:
        labels = served_model(server, model)
        bodies = tuple(str(file) for file in small_photographs(CACHE / "bodies"))
        precision = f"{labels['device']} {labels['precision']}"
        bench = Bench(
            python, server, model, precision, bodies, seconds, latency_ms, folder, describe_commit()
        )
        for scenario in (one for one in SCENARIOS if one in scenarios):
            known = read_results(folder)
            missing = [one for one in (SINGLE_STREAM, OFFLINE) if (model, one) not in known]
            if scenario == SERVER and missing:
                raise SendError(
                    f"Server needs the figures of {' and '.join(missing)}: run them first."
                )
            _print(f"{model}, {scenario}")
            result = bench.run(scenario, known)
            known[model, scenario] = result
            write_results(folder, describe_machine(), list(known.values()))
            write_index()
            _print(
                f"  {result.per_second:.1f} images/s, p90 {result.p90_ms:.1f} ms, p99 {result.p99_ms:.1f} ms, "
                f"{'valid' if result.valid else f'not valid {result.reason}'}"
            )


def _run_sender(python: Path, order: Order) -> dict[str, float]:
    done = subprocess.run(
        [str(python), "-m", "benchmarks.mlperf.sender", json.dumps(asdict(order))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=order.seconds * 5 + PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise SendError(f"The load generator failed: {done.stderr.strip()[-400:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _require(given: list[str], known: tuple[str, ...], what: str) -> None:
    unknown = [one for one in given if one not in known]
    if unknown:
        _print(f"There is no {what} {', '.join(unknown)}. There are: {', '.join(known)}")
        raise typer.Exit(2)


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    cli()
