"""The targets of the service: each is a figure of a case's result and a bound."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.contenders import (
    ECHO,
    FOVEAL,
    FOVEAL_FAST,
    FOVEAL_ON_CPU,
    LIMIT,
    LIMIT_ONE_BY_ONE,
    PEER_NAMES,
    PEER_NAMES_IN_INT8,
)
from benchmarks.results import CaseResult
from benchmarks.statistics import (
    Spread,
    latency_difference_ms,
    spread,
    tail_ratio,
    throughput_ratio,
)

MANY_CLIENTS = 32
MOST_CLIENTS = 128


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure. `needs` names the processor flag without which the target does not apply."""

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


def _ratio_at_many_clients(
    result: CaseResult, *, others: tuple[str, ...], name: str = FOVEAL
) -> Spread | None:
    return throughput_ratio(result.at(MANY_CLIENTS), name, others)


def of_limit(bound: float) -> Target:
    return Target("of the limit", bound, partial(_ratio_at_many_clients, others=(LIMIT,)))


def of_peers(bound: float, *, needs: str = "", name: str = FOVEAL) -> Target:
    measure = partial(_ratio_at_many_clients, others=PEER_NAMES, name=name)
    return Target(f"× the best peer{_unless_default(name)}", bound, measure, needs=needs)


def of_peers_with_the_int8_file(bound: float, *, needs: str) -> Target:
    measure = partial(_ratio_at_many_clients, others=PEER_NAMES_IN_INT8, name=FOVEAL_FAST)
    text = f"× the best peer with the same int8 file{_unless_default(FOVEAL_FAST)}"
    return Target(text, bound, measure, needs=needs)


def of_peers_on_plain_cpu(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        name = FOVEAL_ON_CPU if FOVEAL_ON_CPU in result.facts else FOVEAL
        return _ratio_at_many_clients(result, others=PEER_NAMES, name=name)

    return Target("× the best peer, both on plain CPU", bound, measure)


def of_echo(bound: float, *, name: str = FOVEAL) -> Target:
    measure = partial(_ratio_at_many_clients, others=(ECHO,), name=name)
    return Target(f"of a FastAPI echo{_unless_default(name)}", bound, measure)


def _unless_default(name: str) -> str:
    return "" if name == FOVEAL else f", {name}"


def latency_over_limit(bound: float) -> Target:
    return Target(
        "ms of median latency over the limit's, alone",
        bound,
        lambda result: latency_difference_ms(result.at(1), FOVEAL, [LIMIT_ONE_BY_ONE]),
        at_least=False,
    )


def latency_over_peers() -> Target:
    return Target(
        "ms of median latency over the best peer's, alone",
        0.0,
        lambda result: latency_difference_ms(result.at(1), FOVEAL, PEER_NAMES),
        at_least=False,
    )


def throughput_kept(bound: float) -> Target:
    def measure(result: CaseResult) -> Spread | None:
        ratios = [
            many[FOVEAL].images_per_second / few[FOVEAL].images_per_second
            for many, few in zip(result.at(MOST_CLIENTS), result.at(MANY_CLIENTS), strict=False)
            if FOVEAL in many and FOVEAL in few and few[FOVEAL].images_per_second
        ]
        return spread(ratios) if ratios else None

    return Target(f"of the {MANY_CLIENTS} clients' throughput at {MOST_CLIENTS}", bound, measure)


def tail_latency(bound: float) -> Target:
    return Target(
        f"p99 over median latency at {MOST_CLIENTS} clients",
        bound,
        lambda result: tail_ratio(result.at(MOST_CLIENTS), FOVEAL),
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
