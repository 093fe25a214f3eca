"""The page of a processor: what MLPerf's load generator found, named as unofficial."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.mlperf.result import OFFLINE, SERVER, SINGLE_STREAM, Result
from benchmarks.report import QUIET_CORES

PAGE, RAW = "README.md", "results.json"
UNOFFICIAL = (
    "**Unofficial.** These are results of MLPerf's load generator (mlcommons-loadgen), not MLPerf results: they were "
    "not submitted to MLCommons and not verified by it, runs are shorter than its rules ask for, the images are "
    "scikit-image's photographs and not ImageNet, accuracy was not measured, and the generator runs on the same "
    "machine as the service. MLPerf is a trademark of the MLCommons Association."
)


def read_results(folder: Path) -> dict[tuple[str, str], Result]:
    """Return the results that are kept, by model and scenario."""
    file = folder / RAW
    if not file.exists():
        return {}
    kept = [Result(**one) for one in json.loads(file.read_text())["results"]]
    return {(one.model, one.scenario): one for one in kept}


def write_results(folder: Path, machine: Machine, results: Sequence[Result]) -> None:
    """Write the page and the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": asdict(machine), "results": [asdict(one) for one in results]}
    (folder / RAW).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (folder / PAGE).write_text("\n".join(_page(machine, results)) + "\n")


def _page(machine: Machine, results: Sequence[Result]) -> Iterator[str]:
    yield f"# MLPerf's load generator: {machine.processor}, {machine.cores:g} cores"
    yield ""
    yield UNOFFICIAL
    yield ""
    yield f"{machine.memory_gib:g} GiB; {', '.join(machine.flags)}; Python {machine.python}."
    yield "One 640×480 JPEG per query to `/v1/classify`; ResNet-50 has random weights, which changes no time."
    foreign = max((one.foreign_cores for one in results), default=0.0)
    if foreign > QUIET_CORES:
        yield ""
        yield f"**Other work took up to {foreign:.2f} of the machine's cores: these figures are rough.**"
    yield ""
    yield "| model | scenario | figure | p90 ms | p99 ms | valid | cores of the generator | run |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from map(_row, results)
    yield ""
    yield "The logs of each run are in a folder of its model and scenario."


def _row(one: Result) -> str:
    valid = "yes" if one.valid else f"**no**: {one.failed} failed" if one.failed else "**no**"
    if one.reason:
        valid += f" ({one.reason.strip('* ')})"
    cells = [
        one.model,
        f"[{one.scenario}]({one.model}/{one.scenario})",
        figure_of(one),
        *(["", ""] if one.scenario == OFFLINE else [f"{one.p90_ms:.3g}", f"{one.p99_ms:.3g}"]),
        valid,
        f"{one.sender_cores:.2g}",
        f"{one.date}, {one.seconds:.0f} s, {one.precision}, {one.commit}",
    ]
    return f"| {' | '.join(cells)} |"


def figure_of(one: Result) -> str:
    """Return the figure by which MLPerf compares runs of a scenario."""
    figures = {
        SINGLE_STREAM: f"90 % within {one.p90_ms:.3g} ms",
        OFFLINE: f"{one.per_second:.1f} images/s",
    }
    if one.scenario == SERVER:
        return f"{one.per_second:.1f} images/s, 99 % within {one.bound_ms or 0:.0f} ms"
    return figures[one.scenario]
