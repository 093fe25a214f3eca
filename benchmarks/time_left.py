"""The time that a run still takes: what it has planned, at the pace of what it has done."""

import math
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.cases import Case
from benchmarks.contenders import PEER_NAMES, PEER_NAMES_IN_INT8
from benchmarks.plan import Plan, taking_part
from benchmarks.results import CaseResult
from benchmarks.tuning import is_kept, tuned_network

START, TUNE, TURN = "start", "tune", "turn"
STARTING = {START: 8.0, TUNE: 40.0}
"""First guesses, in seconds, for a contender; the pace of those that have started corrects them."""
WARM_SECONDS = 1.0
TURN_OVERHEAD_SECONDS = 1.0
"""Until the last requests of a turn are answered."""


class TimeLeft:
    """What is left of a run, by kind: contenders to start or to tune, and turns under load."""

    def __init__(self) -> None:
        self._planned = defaultdict[str, float](float)
        self._done = defaultdict[str, float](float)
        self._took = defaultdict[str, float](float)

    def plan(self, kind: str, seconds: float) -> None:
        """Add work that is expected to take so long."""
        self._planned[kind] += seconds

    def did(self, kind: str, seconds: float, took: float) -> None:
        """Say that planned work is done, and how long it took."""
        self._done[kind] += seconds
        self._took[kind] += took

    def seconds(self) -> float:
        return sum(
            max(0.0, planned - self._done[kind]) * self._pace(kind)
            for kind, planned in self._planned.items()
        )

    def __str__(self) -> str:
        minutes = math.ceil(self.seconds() / 60)
        return f"about {minutes} min left" if minutes > 1 else "less than a minute left"

    def _pace(self, kind: str) -> float:
        return self._took[kind] / self._done[kind] if self._done[kind] else 1.0


def missing_rounds(case: Case, plan: Plan, result: CaseResult) -> dict[int, int]:
    """Return the rounds that are still to be measured, by the number of clients."""
    return {
        load.clients: left
        for load in plan.loads(case)
        if (left := plan.rounds - len(result.at(load.clients))) > 0
    }


def plan_time(cases: Sequence[Case], plan: Plan, results: Sequence[CaseResult]) -> TimeLeft:
    """Return what these cases will take, without the rounds that their results hold already."""
    left = TimeLeft()
    tuned: set[tuple[str, str]] = set()
    for case, result in zip(cases, results, strict=True):
        missing = missing_rounds(case, plan, result)
        if not missing:
            continue
        names = plan.contenders(case)
        for name in names:
            kind = start_kind(name, case, plan, tuned)
            left.plan(kind, STARTING[kind])
        for load in plan.loads(case):
            if load.clients in missing:
                turns = warm_seconds() + missing[load.clients] * turn_seconds(case, plan)
                left.plan(TURN, len(taking_part(load, names)) * turns)
    return left


def start_kind(name: str, case: Case, plan: Plan, tuned: set[tuple[str, str]]) -> str:
    """Return whether a contender only starts or is tuned first; then it is added to those that are tuned."""
    if name not in (*PEER_NAMES, *PEER_NAMES_IN_INT8) or plan.quick:
        return START
    peer, _, file = name.partition(", ")
    this = peer, tuned_network(case.model, in_int8=bool(file))
    if not plan.retune and (is_kept(*this) or this in tuned):
        return START
    tuned.add(this)
    return TUNE


def turn_seconds(case: Case, plan: Plan) -> float:
    return plan.turn_seconds(case) + TURN_OVERHEAD_SECONDS


def warm_seconds() -> float:
    return WARM_SECONDS + TURN_OVERHEAD_SECONDS
