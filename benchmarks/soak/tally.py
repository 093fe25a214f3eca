"""Counts the answers of a soak by kind and status."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from benchmarks.soak.traffic import Kind

NO_ANSWER = -1
NOT_SENT = -2
BUSY = frozenset({503, 504})
"""What an overloaded service may send in place of the expected status."""


@dataclass(slots=True)
class Tally:
    """What was answered in a period: statuses per kind, and the latencies of the expected answers in seconds."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: Counter[str] = field(default_factory=Counter)
    """Kind and status of each answer that was neither expected nor `BUSY`."""
    busy: Counter[str] = field(default_factory=Counter)
    """Kind of each answer that was `BUSY` and not expected."""

    def add(self, kind: Kind, status: int, seconds: float) -> None:
        self.statuses[kind.name][status] += 1
        if status in kind.expected:
            self.latencies[kind.name].append(seconds)
        elif status in BUSY:
            self.busy[kind.name] += 1
        else:
            self.wrong[f"{kind.name}: {name_of(status)}"] += 1

    @property
    def sent(self) -> int:
        return sum(count.total() for count in self.statuses.values())


def name_of(status: int) -> str:
    return {NO_ANSWER: "no answer", NOT_SENT: "not sent", 0: "left"}.get(status, str(status))
