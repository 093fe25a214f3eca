"""The results of a run: plain values, written as JSON and read by the report and the plots."""

from dataclasses import dataclass, field

from benchmarks.statistics import Sample

Rounds = dict[int, list[dict[str, Sample]]]
"""Clients → rounds → contender → sample."""


@dataclass(slots=True)
class Facts:
    """Facts about a contender besides its samples. `error` says why it did not run."""

    detail: str = ""
    ready_seconds: float | None = None
    peak_memory_mib: float | None = None
    idle_cores: float | None = None
    top_class: int | None = None
    error: str = ""
    tried: dict[str, float] = field(default_factory=dict)
    """Setting → images per second that the sweep measured."""
    agreement: dict[str, float] = field(default_factory=dict)
    """How far its answers agree with those of the service in fp32, as `benchmarks.agreement` counts it."""


@dataclass(slots=True)
class CaseResult:
    name: str
    facts: dict[str, Facts] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=dict)

    def at(self, clients: int) -> list[dict[str, Sample]]:
        return self.rounds.get(clients, [])
