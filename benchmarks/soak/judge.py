"""Judges whether a quantity grew under constant load, from its samples over time.

The rule: leave out the warm-up. Cut the rest into `WINDOWS` windows of equal length and take the median of each, so
that single requests do not count. The slope over the windows is the median of the slopes of all pairs (Theil 1950, Sen
1968), so that a single step does not count as growth, and neither does a single low window. The growth is this slope
times the length of the judged time. It is too much if it exceeds the allowance: an absolute amount, or a share of the
level after the warm-up, whichever is more.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.soak.tally import Tally

WINDOWS = 10
FEWEST = 2 * WINDOWS
"""Samples after the warm-up; with fewer nothing is judged."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a quantity may grow from the end of the warm-up to the end."""

    amount: float
    share: float = 0.0

    def at(self, level: float) -> float:
        return max(self.amount, self.share * level)


ALLOWED: Mapping[str, Allowance] = {
    "memory_mib": Allowance(24.0, share=0.05),
    "threads": Allowance(2.0),
    "files": Allowance(8.0, share=0.2),
    "series": Allowance(20.0, share=0.02),
}
"""Series: one more histogram with labels has about 20."""

MOST_BUSY = 0.02
"""Share of the requests that may be answered with 503 or 504 because the service was busy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one quantity.

    `start`, `warm` and `end` are its levels: the first sample, and the medians of the first and the last window.
    """

    name: str
    start: float
    warm: float
    end: float
    growth: float
    allowed: float

    @property
    def grew(self) -> bool:
        return self.growth > self.allowed


def judge(
    name: str,
    seconds: Sequence[float],
    values: Sequence[float],
    warm_up_seconds: float,
    allowance: Allowance,
) -> Verdict:
    """Judge the growth of one quantity after the warm-up.

    Args:
        name: what it is.
        seconds: when each sample was taken; rising.
        values: the samples.
        warm_up_seconds: samples before this time are left out.
        allowance: how much it may grow.

    Raises:
        ValueError: there are fewer than `FEWEST` samples after the warm-up.
    """
    kept = [(at, value) for at, value in zip(seconds, values, strict=True) if at >= warm_up_seconds]
    if len(kept) < FEWEST:
        raise ValueError(
            f"{name} has {len(kept)} samples after {warm_up_seconds:g} s; the judge needs {FEWEST}. Run for longer."
        )
    levels = [
        (statistics.fmean(at for at, _ in window), statistics.median(value for _, value in window))
        for window in _windows(kept)
    ]
    slope = statistics.median(
        (later - sooner) / (end - begin)
        for (begin, sooner), (end, later) in itertools.combinations(levels, 2)
    )
    return Verdict(
        name=name,
        start=values[0],
        warm=levels[0][1],
        end=levels[-1][1],
        growth=slope * (kept[-1][0] - kept[0][0]),
        allowed=allowance.at(levels[0][1]),
    )


def problems_of(verdicts: tuple[Verdict, ...], tally: Tally) -> list[str]:
    """Return a sentence for each thing that is not as it should be."""
    found = [
        f"{one.name} grew by {one.growth:.1f} after the warm-up (from {one.warm:.0f} to {one.end:.0f}); "
        f"at most {one.allowed:.1f} is allowed"
        for one in verdicts
        if one.grew
    ]
    found += [f"{times} wrong results of {what}" for what, times in sorted(tally.wrong.items())]
    busy, allowed = tally.busy.total(), math.ceil(MOST_BUSY * tally.sent)
    if busy > allowed:
        found.append(f"{busy} of {tally.sent} requests got 503 or 504; at most {allowed} may")
    return found


def _windows(samples: Sequence[tuple[float, float]]) -> list[Sequence[tuple[float, float]]]:
    edges = [len(samples) * number // WINDOWS for number in range(WINDOWS + 1)]
    return [samples[begin:end] for begin, end in itertools.pairwise(edges)]
