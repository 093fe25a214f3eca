"""The options of a run, and what they make of a case."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks import contenders
from benchmarks.cases import Case, Load
from benchmarks.contenders import (
    ECHO,
    FOVEAL,
    FOVEAL_FAST,
    FOVEAL_IN_PROCESSES,
    LIMIT,
    LIMIT_ONE_BY_ONE,
    LIMIT_UNDECODED,
    with_int8_file,
)
from benchmarks.load import Generator

GPU_DEVICES = ("cuda", "tensorrt")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run. `shorten` is a factor on the seconds of every case."""

    generator: Generator
    cores: int
    rounds: int
    shorten: float
    quick: bool
    peers: bool
    devices: tuple[str, ...]
    """The devices of the service, one contender per device; empty: the default device."""
    retune: bool
    progress: Progress

    @property
    def identity(self) -> dict[str, object]:
        """The options on which figures depend."""
        return {
            "generator": self.generator.name,
            "cores": self.cores,
            "shorten": self.shorten,
            "quick": self.quick,
            "peers": self.peers,
            "devices": list(self.devices),
        }

    def loads(self, case: Case) -> Sequence[Load]:
        quick = [load for load in case.loads if load.quick]
        return quick if self.quick and quick else case.loads

    def turn_seconds(self, case: Case) -> float:
        return case.seconds * self.shorten

    def contenders(self, case: Case) -> list[str]:
        """Return the contenders that will be started, as far as that is known before the service has its device."""
        loads = self.loads(case)
        names = []
        for device in self.devices or (None,):
            names.append(contenders.on_device(FOVEAL, device))
            if any(load.limit and load.clients > 1 for load in loads):
                limits = (LIMIT, LIMIT_UNDECODED) if case.undecoded else (LIMIT,)
                names += [contenders.on_device(one, device) for one in limits]
            if any(load.limit and load.clients == 1 for load in loads):
                names.append(contenders.on_device(LIMIT_ONE_BY_ONE, device))
        if case.workers and not self.devices:
            names.append(FOVEAL_IN_PROCESSES)
        if case.echo:
            names.append(ECHO)
        peers = case.peers if self.peers and any(load.peers for load in loads) else ()
        names += peers
        if case.fast:
            in_int8 = (*(name for name in names if name == LIMIT), *peers)
            names += [FOVEAL_FAST, *map(with_int8_file, in_int8)]
        return names


def taking_part(load: Load, names: Iterable[str]) -> list[str]:
    """Return the contenders of a load: the service, the limit for its number of clients, and its peers."""

    def takes_part(name: str) -> bool:
        if name.startswith(FOVEAL):
            return True
        if name.startswith(LIMIT):
            return load.limit and name.startswith(LIMIT_ONE_BY_ONE) == (load.clients == 1)
        return load.peers and (name != ECHO or load.clients > 1)

    return [name for name in names if takes_part(name)]
