"""Writes results as a Markdown page and as JSON. Every ratio is the median of the ratios within each round."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.agreement import CLEAR, FIGURES
from benchmarks.cases import Case
from benchmarks.contenders import FOVEAL
from benchmarks.goals import EVERY_CASE
from benchmarks.machine import Machine
from benchmarks.results import CaseResult, Facts
from benchmarks.statistics import Sample, Spread, median_of, throughput_ratio
from benchmarks.targets import Target

MARKDOWN, RAW = "README.md", "results.json"
QUIET_CORES = 0.1
_MET = {True: "met", False: "**not met**"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark and its results."""

    date: str
    machine: Machine
    generator: str
    rounds: int
    command: str
    results: tuple[CaseResult, ...]
    peers_measured: bool = True
    commit: str = ""
    missing: tuple[str, ...] = ()
    """Cases that are not measured yet: the run goes on, or was interrupted."""


def write_report(run: Run, folder: Path, plots: Sequence[str]) -> None:
    """Write the Markdown page, with links to these plots, and the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RAW).write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n")
    (folder / MARKDOWN).write_text("\n".join(_page(run, plots)) + "\n")


def _page(run: Run, plots: Sequence[str]) -> Iterator[str]:
    machine = run.machine
    flags = ", ".join(machine.flags) or "none that matter here"
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    yield f"# {machine.processor}, {machine.cores:g} cores, {run.date}"
    yield ""
    yield f"{machine.memory_gib:g} GiB; {flags}; {machine.system}; Python {machine.python}; {versions}."
    yield (
        f"Made by `{run.command}` with {run.generator}, {run.rounds} interleaved rounds. Ratios are medians of the "
        "ratios within each round, with the extremes in brackets; [how to read this](../../README.md)."
    )
    if run.commit:
        yield ""
        yield f"Commit {run.commit}."
    if run.missing:
        yield ""
        yield f"**This run has not ended.** Not measured yet: {', '.join(run.missing)}."
    foreign = foreign_cores(run.results)
    if foreign > QUIET_CORES:
        yield ""
        yield (
            f"**Other work took {foreign:.2f} of the machine's cores (median of all turns): these figures are rough.** "
            "CPU milliseconds are affected least."
        )
    yield ""
    for plot in plots:
        yield f"![{plot.removesuffix('.svg')}]({plot})"
        yield ""
    yield from _targets(run)
    yield from _agreements(run.results)
    for result in run.results:
        yield from _case(result)
    yield from _contenders(run)


def foreign_cores(results: Sequence[CaseResult]) -> float:
    """Return the number of cores that other work used, as the median over all turns."""
    turns = [
        sample.foreign_cores
        for result in results
        for rounds in result.rounds.values()
        for one in rounds
        for sample in one.values()
    ]
    return statistics.median(turns) if turns else 0.0


def _targets(run: Run) -> Iterator[str]:
    rows = [
        row
        for result in run.results
        for target in _case_of(result).targets
        for row in [_target_row(target, result, run.machine)]
    ]
    if not rows:
        return
    yield from (
        "## Targets",
        "",
        "| case | figure | target | measured | |",
        "|---|---|---|---|---|",
    )
    yield from rows
    yield ""


def _target_row(target: Target, result: CaseResult, machine: Machine) -> str:
    title = _case_of(result).title
    if target.needs and not machine.has(target.needs):
        measured, verdict = f"needs a chip with {target.needs.upper()}", "does not apply"
    elif (found := target.measure(result)) is None:
        measured, verdict = "", "not measured"
    else:
        measured, verdict = show_spread(found), _MET[target.is_met(found)]
    return f"| {title} | {target.text} | {target.wanted} | {measured} | {verdict} |"


def _agreements(results: Sequence[CaseResult]) -> Iterator[str]:
    """Yield how far the answers of `foveal fast` agree with those of `foveal`, where they were compared."""
    rows = [
        f"| {_case_of(result).title} | {facts.detail} | {agreed:g} of {clear:g} | {same:g} of {images:g} | "
        f"{mean:.4f} | {most:.4f} |"
        for result in results
        for name, facts in result.facts.items()
        if facts.agreement
        for images, clear, agreed, same, mean, most in [
            [facts.agreement[figure] for figure in FIGURES]
        ]
    ]
    if not rows:
        return
    yield from (
        "## The answers of `foveal fast` beside those of `foveal`",
        "",
        f"By HTTP, on photographs that nothing was calibrated with. Clear: the best class of fp32 leads by {CLEAR:g}.",
        "",
        "| case | served as | clear top classes kept | all top classes kept | mean \\|Δp\\| | largest |",
        "|---|---|---|---|---|---|",
    )
    yield from rows
    yield ""


def _case(result: CaseResult) -> Iterator[str]:
    yield from (f"## {_case_of(result).title}", "")
    for clients, rounds in result.rounds.items():
        yield f"{clients} client{'s' if clients > 1 else ''}"
        yield ""
        yield "| | images/s | × the limit | p50 ms | p99 ms | errors | CPU ms per image |"
        yield "|---|---|---|---|---|---|---|"
        names = sorted(rounds[0], key=lambda name: -_rate(rounds, name))
        yield from (_row(rounds, name, result.limit_of(name, clients)) for name in names)
        yield ""


def _row(rounds: Sequence[dict[str, Sample]], name: str, base: str) -> str:
    ratio = throughput_ratio(rounds, name, [base]) if name != base else None
    cells = [
        f"**{name}**" if name.startswith(FOVEAL) else name,
        _number(_rate(rounds, name)),
        show_spread(ratio) if ratio else "",
        _number(median_of(rounds, name, lambda sample: sample.p50_ms)),
        _number(median_of(rounds, name, lambda sample: sample.p99_ms)),
        str(sum(one[name].errors for one in rounds)),
        _number(median_of(rounds, name, lambda sample: sample.cpu_ms_per_image)),
    ]
    return f"| {' | '.join(cells)} |"


def _contenders(run: Run) -> Iterator[str]:
    """Yield how each contender was run, or why it could not run."""
    yield from ("## How each was run", "")
    yield "| case | | setting | start to ready, s | peak memory, MiB | idle, cores | settings tried, images/s |"
    yield "|---|---|---|---|---|---|---|"
    for result in run.results:
        ours = result.facts.get(FOVEAL, Facts()).top_class
        for name, facts in result.facts.items():
            cells = [
                result.name,
                name,
                f"**does not run**: {_cell(facts.error)}" if facts.error else facts.detail,
                _number(facts.ready_seconds),
                _number(facts.peak_memory_mib),
                _number(facts.idle_cores),
                ", ".join(f"{tried}: {rate:g}" for tried, rate in facts.tried.items()),
            ]
            if facts.top_class is not None and facts.top_class != ours:
                cells[2] += f", another top class ({facts.top_class}, not {ours})"
            yield f"| {' | '.join(cells)} |"


def _case_of(result: CaseResult) -> Case:
    return next(case for case in EVERY_CASE if case.name == result.name)


def _rate(rounds: Sequence[dict[str, Sample]], name: str) -> float:
    return median_of(rounds, name, lambda sample: sample.images_per_second) or 0.0


def show_spread(found: Spread) -> str:
    if found.low == found.high:
        return f"{found.median:.2f}"
    return f"{found.median:.2f} ({found.low:.2f}–{found.high:.2f})"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "¦").replace("\n", " ")


def load_results(content: dict[str, Any]) -> tuple[CaseResult, ...]:
    """Return the results from the content of a JSON file that `write_report` wrote."""
    return tuple(
        CaseResult(
            one["name"],
            {name: Facts(**facts) for name, facts in one["facts"].items()},
            {
                int(clients): [
                    {name: Sample(**sample) for name, sample in each.items()} for each in rounds
                ]
                for clients, rounds in one["rounds"].items()
            },
        )
        for one in content["results"]
    )
