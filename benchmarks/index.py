"""The pages over all results: one for each processor seen, and the list of them.

    python -m benchmarks.index

Every run writes them again; they are made from the JSON files of the runs and from nothing else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.contenders import (
    FOVEAL,
    FOVEAL_FAST,
    LIMIT,
    PEER_NAMES,
    PEER_NAMES_IN_INT8,
    ROOT,
    with_int8_file,
)
from benchmarks.goals import EVERY_CASE, GOALS
from benchmarks.machine import Machine, machine_of
from benchmarks.mlperf.page import RAW as MLPERF_RAW
from benchmarks.mlperf.page import figure_of, read_results
from benchmarks.report import QUIET_CORES, RAW, foreign_cores, load_results, show_spread
from benchmarks.results import CaseResult
from benchmarks.statistics import throughput_ratio
from benchmarks.targets import MANY_CLIENTS

RESULTS = ROOT / "benchmarks" / "results"
INDEX, PROCESSORS, MLPERF = "README.md", "processors", "mlperf"
MADE = "<!-- Made by `python -m benchmarks.index`. -->"


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of the comparison: its folder's name, and what its JSON file says."""

    folder: str
    date: str
    machine: Machine
    command: str
    results: tuple[CaseResult, ...]
    whole: bool

    @property
    def note(self) -> str:
        busy = foreign_cores(self.results)
        notes = [
            "" if self.whole else "not whole",
            "quick" if "--quick" in self.command else "",
            "goals" if "--goals" in self.command else "",
            f"rough: other work took {busy:.2f} cores" if busy > QUIET_CORES else "quiet",
        ]
        return ", ".join(filter(None, notes))


def write_index(root: Path = RESULTS) -> None:
    """Write the list and the page of each processor; pages of processors without results are removed."""
    pages = pages_of(root)
    (root / PROCESSORS).mkdir(parents=True, exist_ok=True)
    for old in (root / PROCESSORS).glob("*.md"):
        if f"{PROCESSORS}/{old.name}" not in pages:
            old.unlink()
    for name, text in pages.items():
        (root / name).write_text(text)


def pages_of(root: Path = RESULTS) -> dict[str, str]:
    """Return the pages' paths below the folder of all results, with their text."""
    runs = list(_runs(root))
    mlperf = {
        folder.name: machine_of(json.loads((folder / MLPERF_RAW).read_text())["machine"])
        for folder in sorted((root / MLPERF).glob("*"))
        if (folder / MLPERF_RAW).exists()
    }
    machines = {run.machine.slug: run.machine for run in runs} | mlperf
    pages = {
        f"{PROCESSORS}/{slug}.md": _text(_processor(root, machine, runs))
        for slug, machine in sorted(machines.items())
    }
    known = {run.folder for run in runs}
    others = [
        folder
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name not in known | {PROCESSORS, MLPERF}
    ]
    return {INDEX: _text(_index(machines, runs, others)), **pages}


def _runs(root: Path) -> Iterator[_Run]:
    for file in sorted(root.glob(f"*/{RAW}"), reverse=True):
        content: dict[str, Any] = json.loads(file.read_text())
        yield _Run(
            file.parent.name,
            content["date"],
            machine_of(content["machine"]),
            content["command"],
            load_results(content),
            not content.get("missing"),
        )


def _index(
    machines: Mapping[str, Machine], runs: Sequence[_Run], others: Sequence[Path]
) -> Iterator[str]:
    yield from ("# Results by processor", "", MADE, "")
    yield "Compare ratios, not figures of different machines; [how they are measured](../README.md)."
    yield ""
    yield "| processor | instructions | newest run | EfficientNet-Lite0, share of the limit | × the best peer |"
    yield "|---|---|---|---|---|"
    for slug, machine in sorted(machines.items()):
        title = f"[{machine.processor}, {machine.cores:g} cores]({PROCESSORS}/{slug}.md)"
        own = [run for run in runs if run.machine.slug == slug]
        # A run of other cases alone has neither figure.
        newest = next((run for run in own if any(_figures(run))), next(iter(own), None))
        cells = [title, machine.level, "", "", ""]
        if newest is not None:
            cells[2] = f"[{newest.date}]({newest.folder}/README.md), {newest.note}"
            cells[3:] = _figures(newest)
        yield f"| {' | '.join(cells)} |"
    if others:
        yield from ("", "Other runs:", "")
        yield from map(_link, others)


def _figures(run: _Run) -> Sequence[str]:
    first = _ratios(run, CASES[0].name)
    return first if any(first) else _ratios(run, GOALS[0].name)


def _link(folder: Path) -> str:
    page = next(one.name for one in [folder / "README.md", *folder.glob("*.svg")] if one.exists())
    return f"- [{folder.name}]({folder.name}/{page})"


def _processor(root: Path, machine: Machine, runs: Sequence[_Run]) -> Iterator[str]:
    yield from (f"# {machine.processor}, {machine.cores:g} cores", "", MADE, "")
    yield f"{machine.memory_gib:g} GiB; {', '.join(machine.flags) or 'no instructions that matter here'}."
    mine = [run for run in runs if run.machine.slug == machine.slug]
    if mine:
        yield from ("", f"## Beside the limit and the peers, {MANY_CLIENTS} clients", "")
        yield "| run | | case | share of the limit | × the best peer |"
        yield "|---|---|---|---|---|"
        for run in mine:
            for case in EVERY_CASE:
                if any(ratios := _ratios(run, case.name)):
                    first = f"[{run.date}](../{run.folder}/README.md)"
                    yield f"| {first} | {run.note} | {case.title} | {' | '.join(ratios)} |"
        yield from _fast(mine)
    folder = root / MLPERF / machine.slug
    if results := read_results(folder):
        yield from ("", "## MLPerf's load generator, unofficial", "")
        yield "| model | scenario | figure | valid |"
        yield "|---|---|---|---|"
        for one in results.values():
            valid = "yes" if one.valid else "**no**"
            yield f"| {one.model} | {one.scenario} | {figure_of(one)} | {valid} |"
        yield ""
        yield f"[What this is and what it is not](../{MLPERF}/{machine.slug}/README.md)"


def _fast(runs: Sequence[_Run]) -> Iterator[str]:
    """Yield what the service reaches in `fast`, where that was measured."""
    others = ([with_int8_file(LIMIT)], PEER_NAMES_IN_INT8, PEER_NAMES)
    rows = [
        f"| [{run.date}](../{run.folder}/README.md) | {run.note} | {case.title} | {' | '.join(ratios)} |"
        for run in runs
        for case in EVERY_CASE
        if any(ratios := _ratios(run, case.name, FOVEAL_FAST, others))
    ]
    if rows:
        yield from ("", "## In `fast`, with a variant in int8", "")
        yield (
            "| run | | case | share of the limit with that file | × the best peer with that file "
            "| × the best peer in fp32 |"
        )
        yield "|---|---|---|---|---|---|"
        yield from rows


def _ratios(
    run: _Run,
    case: str,
    name: str = FOVEAL,
    others: Sequence[Sequence[str]] = ([LIMIT], PEER_NAMES),
) -> list[str]:
    """Return the ratios of a contender to the best of others; empty where they were not measured."""
    found = next((result for result in run.results if result.name == case), None)
    rounds = found.at(MANY_CLIENTS) if found else []
    ratios = [throughput_ratio(rounds, name, each) for each in others]
    return [show_spread(one) if one else "" for one in ratios]


def _text(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    write_index()
