"""One flood: the peak before it, the flood itself with what the clients take, and the peak after it."""

import itertools
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.flood.crowd import (
    ANSWER_SECONDS,
    GRACE_SECONDS,
    Crowd,
    Tally,
    command_of,
    parse_counted,
)
from benchmarks.server import Server
from benchmarks.usage import MemoryWatch
from service.runtime.host import granted_cores

TIMES = 10.0
WAIT_SECONDS = 0.45
"""A client asks again 0.2 to 0.7 s after its answer."""
WARM_UP_SECONDS = 3.0
PAUSE_SECONDS = 3.0
"""Between the flood and the peak after it."""
LEAST_CLIENTS = 32
"""Of what runs beside images, such as explanations, of which few wait."""
GOOD, REFUSED = (200,), (429, 503)


@dataclass(frozen=True, slots=True)
class Part:
    """What the clients of one crowd got: at the peak before, in the flood, and at the peak after it."""

    before: Crowd
    flooding: Crowd
    peak: Tally
    flood: Tally
    after: Tally

    @property
    def goodput(self) -> float:
        """Results per second in the flood, as a part of those at the peak before; NaN where there was none."""
        return _ratio(self.flood.rate(GOOD), self.peak.rate(GOOD))

    @property
    def recovered(self) -> float:
        """Results per second after the flood, as a part of those before."""
        return _ratio(self.after.rate(GOOD), self.peak.rate(GOOD))

    @property
    def others(self) -> dict[int, int]:
        """How many answers of the flood are neither results nor refusals, by status."""
        return {
            status: count
            for status, count in self.flood.statuses.items()
            if status not in (*GOOD, *REFUSED)
        }


@dataclass(frozen=True, slots=True)
class Flooded:
    """The result of a flood. The cores are those that the clients took; memory is that of the service, in bytes."""

    name: str
    parts: tuple[Part, ...]
    peak_cores: float
    flood_cores: float
    memory_before: int
    memory_most: int
    memory_after: int
    cores: float

    @property
    def main(self) -> Part:
        """What the others run beside: single images, to which all else yields."""
        return self.parts[0]

    def without_clients(self, part: Part) -> float:
        """Return the goodput as if the clients were on another machine: each rate for the cores that they left."""
        return part.goodput * (self.cores - self.peak_cores) / (self.cores - self.flood_cores)


def run_flood(
    name: str,
    server: Server,
    crowds: Sequence[Crowd],
    *,
    seconds: float,
    peak_seconds: float,
    waiting: int,
) -> Flooded:
    """Measure a flood of `TIMES` times what the crowds, as they are given, get without waiting.

    Args:
        name: of the flood.
        server: the service.
        crowds: what is sent.
        seconds: how long the flood lasts.
        peak_seconds: how long each peak is measured.
        waiting: how many requests of the first crowd the service lets wait: they ask for nothing more.
    """
    _sent(server, crowds, WARM_UP_SECONDS)
    peak, peak_cores = _sent(server, crowds, peak_seconds)
    flooding = [
        crowd.flooding(
            tally.rate(GOOD), TIMES, WAIT_SECONDS, waiting if crowd is crowds[0] else LEAST_CLIENTS
        )
        for crowd, tally in zip(crowds, peak, strict=True)
    ]
    before = server.tree.memory_bytes()
    with MemoryWatch(server.tree) as watch:
        flood, flood_cores = _sent(server, flooding, seconds)
    time.sleep(PAUSE_SECONDS)
    left = server.tree.memory_bytes()
    after, _ = _sent(server, crowds, peak_seconds)
    parts = itertools.starmap(Part, zip(crowds, flooding, peak, flood, after, strict=True))
    return Flooded(
        name,
        tuple(parts),
        peak_cores=peak_cores,
        flood_cores=flood_cores,
        memory_before=before,
        memory_most=watch.peak_bytes,
        memory_after=left,
        cores=granted_cores(),
    )


def _sent(server: Server, crowds: Sequence[Crowd], seconds: float) -> tuple[list[Tally], float]:
    """Let all crowds send at once, and return what each got and how many cores they took together."""
    before, began = _children_seconds(), time.perf_counter()
    programs = [
        subprocess.Popen(
            command_of(crowd, server.url(crowd.path), seconds),
            stdout=subprocess.PIPE,
            text=True,
        )
        for crowd in crowds
    ]
    try:
        limit = seconds + ANSWER_SECONDS + GRACE_SECONDS
        printed = [program.communicate(timeout=limit)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
            program.wait()
    spent = _children_seconds() - before
    return [parse_counted(one) for one in printed], spent / (time.perf_counter() - began)


def _children_seconds() -> float:
    """Return the CPU seconds of children that have ended: not of the service, which goes on."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _ratio(value: float, of: float) -> float:
    return value / of if of else float("nan")
