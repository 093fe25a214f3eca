"""What the service must reach, each as a figure of a case's result and a bound."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.contenders import ALONE, ECHO, FOVEAL, FOVEAL_ON_CPU, LIMIT, PEER_NAMES
from benchmarks.results import CaseResult
from benchmarks.statistics import (
    Spread,
    latency_difference_ms,
    spread,
    tail_ratio,
    throughput_ratio,
)

CROWD = 32
MULTITUDE = 128


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure; `needs` names the processor's flag without which it does not apply."""

    text: str
    bound: float
    measure: Callable[[CaseResult], Spread | None]
    at_least: bool = True
    needs: str = ""

    def is_met(self, found: Spread) -> bool:
        return found.median >= self.bound if self.at_least else found.median <= self.bound

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def _crowd_ratio(
    result: CaseResult, *, others: tuple[str, ...], name: str = FOVEAL
) -> Spread | None:
    return throughput_ratio(result.at(CROWD), name, others)


def of_limit(bound: float) -> Target:
    return Target("of the limit", bound, partial(_crowd_ratio, others=(LIMIT,)))


def of_peers(bound: float, *, needs: str = "", name: str = FOVEAL) -> Target:
    measure = partial(_crowd_ratio, others=PEER_NAMES, name=name)
    return Target(f"× the best peer{_unless_default(name)}", bound, measure, needs=needs)


def of_peers_on_plain_cpu(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        name = FOVEAL_ON_CPU if FOVEAL_ON_CPU in result.facts else FOVEAL
        return _crowd_ratio(result, others=PEER_NAMES, name=name)

    return Target("× the best peer, both on plain CPU", bound, measure)


def of_echo(bound: float, *, name: str = FOVEAL) -> Target:
    measure = partial(_crowd_ratio, others=(ECHO,), name=name)
    return Target(f"of a FastAPI echo{_unless_default(name)}", bound, measure)


def _unless_default(name: str) -> str:
    return "" if name == FOVEAL else f", {name}"


def alone_over_limit(bound: float) -> Target:
    return Target(
        "ms of median latency over the limit's, alone",
        bound,
        lambda result: latency_difference_ms(result.at(1), FOVEAL, [ALONE]),
        at_least=False,
    )


def alone_under_peers() -> Target:
    return Target(
        "ms of median latency over the best peer's, alone",
        0.0,
        lambda result: latency_difference_ms(result.at(1), FOVEAL, PEER_NAMES),
        at_least=False,
    )


def multitude_keeps(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        ratios = [
            many[FOVEAL].images_per_second / few[FOVEAL].images_per_second
            for many, few in zip(result.at(MULTITUDE), result.at(CROWD), strict=False)
            if FOVEAL in many and FOVEAL in few and few[FOVEAL].images_per_second
        ]
        return spread(ratios) if ratios else None

    return Target(f"of the {CROWD} clients' throughput at {MULTITUDE}", bound, measure)


def multitude_tail(bound: float) -> Target:
    return Target(
        f"p99 over median latency at {MULTITUDE} clients",
        bound,
        lambda result: tail_ratio(result.at(MULTITUDE), FOVEAL),
        at_least=False,
    )


def memory_mib(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        peak = result.facts[FOVEAL].peak_memory_mib if FOVEAL in result.facts else None
        return spread([peak]) if peak else None

    return Target("MiB of memory at its peak, default models", bound, measure, at_least=False)


def ready_seconds(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        taken = result.facts[FOVEAL].ready_seconds if FOVEAL in result.facts else None
        return spread([taken]) if taken else None

    return Target("s from start to ready, default models", bound, measure, at_least=False)
