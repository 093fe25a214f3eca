"""The results of a run: plain values, written as JSON and read by the report and the plots."""

from dataclasses import dataclass, field

from benchmarks.contenders import FOVEAL_FAST, INT8_FILE, limit_of, with_int8_file
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

    def ran_int8(self, name: str) -> bool:
        """Return whether a contender ran the variant in int8: a peer that has it, or the service that selected it."""
        if name == FOVEAL_FAST:
            return "int8" in self.facts.get(name, Facts()).detail.split()
        return name.endswith(f", {INT8_FILE}")

    def limit_of(self, name: str, clients: int) -> str:
        """Return the limit with the file that a contender ran, on the same device, for one client or for many."""
        base = limit_of(name, clients)
        return with_int8_file(base) if name == FOVEAL_FAST and self.ran_int8(name) else base
