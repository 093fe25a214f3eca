"""Statistics of samples: medians over rounds, and ratios within a round.

A ratio is always computed from two samples of the same round, which are seconds apart. The median of these ratios
is reported. If the machine is slower for a minute, both sides of the ratio are slower.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender under load for a few seconds. Latencies are None if there are no clients, as for the limit.

    `foreign_cores` is the number of cores that other work on the machine used meanwhile; a high value means that the
    sample is unreliable.
    """

    images_per_second: float
    requests: int
    errors: int
    cpu_ms_per_image: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    foreign_cores: float = 0.0


Round = Mapping[str, Sample]
"""Contender → its sample in one round."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median over rounds, with the extremes."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the extremes of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def throughput_ratio(rounds: Sequence[Round], name: str, others: Sequence[str]) -> Spread | None:
    """Return the contender's throughput divided by the best of `others`, over the rounds.

    None if no round has both. A sample without an answer counts as a throughput of zero. Rounds in which all others
    failed are left out.
    """
    ratios = [
        one[name].images_per_second / best
        for one in rounds
        if name in one
        and (best := max((one[o].images_per_second for o in others if o in one), default=0.0))
    ]
    return spread(ratios) if ratios else None


def latency_difference_ms(
    rounds: Sequence[Round], name: str, others: Sequence[str]
) -> Spread | None:
    """Return the contender's median latency minus the lowest of the others', in milliseconds, over the rounds."""
    differences = [
        mine - min(theirs)
        for one in rounds
        if name in one
        and (mine := one[name].p50_ms) is not None
        and (theirs := [p50 for o in others if o in one and (p50 := one[o].p50_ms) is not None])
    ]
    return spread(differences) if differences else None


def tail_ratio(rounds: Sequence[Round], name: str) -> Spread | None:
    """Return p99 divided by p50, over the rounds."""
    ratios = [
        sample.p99_ms / sample.p50_ms
        for one in rounds
        if (sample := one.get(name)) and sample.p50_ms and sample.p99_ms
    ]
    return spread(ratios) if ratios else None


def median_of(
    rounds: Sequence[Round], name: str, figure: Callable[[Sample], float | None]
) -> float | None:
    """Return the median over rounds of one figure of one contender, or None if it has none."""
    values = [
        value
        for one in rounds
        if (sample := one.get(name)) and (value := figure(sample)) is not None
    ]
    return statistics.median(values) if values else None
