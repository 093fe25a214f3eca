"""A run of floods as a page of Markdown, and what it says of each promise."""

import math
from collections.abc import Sequence

from benchmarks.flood.run import GOOD, PAUSE_SECONDS, REFUSED, Flooded, Part
from benchmarks.machine import Machine

LEAST_GOODPUT = 0.9
LEAST_RECOVERED = 0.9
MOST_REFUSAL_MS = 10.0
MOST_GROWTH = 1.2
"""Of the memory after the flood: caches of what is new may grow a little, a leak of requests would not be little."""
MIB = 2**20


def problems_of(floods: Sequence[Flooded], deadline_ms: float) -> list[str]:
    """Return a sentence for each promise that was not kept."""
    found = []
    for flood in floods:
        for part in flood.parts:
            where = f"{flood.name}, {part.before.name}"
            found += [f"{where}: {problem}" for problem in _problems(flood, part, deadline_ms)]
        grown = flood.memory_after / flood.memory_before
        if grown > MOST_GROWTH:
            found.append(f"{flood.name}: memory is {grown:.2f} times what it was before")
    return found


def _problems(flood: Flooded, part: Part, deadline_ms: float) -> list[str]:
    goodput, refusal = flood.without_clients(part), part.flood.quantile_ms(REFUSED, 0.5)
    slowest = part.flood.quantile_ms(GOOD, 0.99)
    judged = part is flood.main  # the others get what single images leave
    checks = {
        f"goodput is {goodput:.2f} of the peak": judged and not goodput >= LEAST_GOODPUT,
        f"{part.recovered:.2f} of the peak is reached after it": judged
        and not part.recovered >= LEAST_RECOVERED,
        f"a refusal takes {_number(refusal)} ms": (refusal or 0) > MOST_REFUSAL_MS,
        f"p99 of the results is {_number(slowest)} ms": (slowest or 0) > deadline_ms,
        f"other answers: {_others(part)}": bool(part.others),
        f"{part.flood.unanswered} requests got no answer": part.flood.unanswered > 0,
    }
    return [sentence for sentence, is_wrong in checks.items() if is_wrong]


def page_of(
    floods: Sequence[Flooded],
    problems: Sequence[str],
    machine: Machine,
    *,
    seconds: float,
    deadline_ms: float,
) -> str:
    """Return the page."""
    about = (
        f"`python -m benchmarks.flood` on {machine.processor}, {machine.cores:g} cores. Each flood lasts "
        f"{seconds:g} s. A request has {deadline_ms:g} ms by default."
    )
    columns = (
        "| flood | clients | peak, /s | results, /s | of the peak | the same without the clients' share of the cores | "
        "p99 of results, ms | refused, /s | refusal: median, p99, ms | other answers | no answer | "
        f"after {PAUSE_SECONDS:g} s, of the peak |"
    )
    lines = [
        *("# Floods", "", about, "", columns),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(flood, part) for flood in floods for part in flood.parts),
        "",
        "| flood | cores that the clients took: peak, flood | memory before, most, after, MiB |",
        "|---|---|---|",
        *(_resources(flood) for flood in floods),
        "",
        *(f"- Not kept: {problem}." for problem in problems),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(flood: Flooded, part: Part) -> str:
    tally = part.flood
    cells = [
        f"{flood.name}: {part.before.name}",
        f"{part.flooding.clients}",
        f"{part.peak.rate(GOOD):.1f}",
        f"{tally.rate(GOOD):.1f}",
        _number(part.goodput),
        _number(flood.without_clients(part)),
        _number(tally.quantile_ms(GOOD, 0.99)),
        f"{tally.rate(REFUSED):.0f}",
        f"{_number(tally.quantile_ms(REFUSED, 0.5))}, {_number(tally.quantile_ms(REFUSED, 0.99))}",
        _others(part),
        f"{tally.unanswered}",
        _number(part.recovered),
    ]
    return f"| {' | '.join(cells)} |"


def _resources(flood: Flooded) -> str:
    memory = (flood.memory_before, flood.memory_most, flood.memory_after)
    sizes = ", ".join(f"{one / MIB:.0f}" for one in memory)
    return f"| {flood.name} | {flood.peak_cores:.2f}, {flood.flood_cores:.2f} | {sizes} |"


def _others(part: Part) -> str:
    return ", ".join(f"{status}: {count}" for status, count in part.others.items()) or "none"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
