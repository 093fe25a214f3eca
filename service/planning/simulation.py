"""Requests at random times → processes behind a balancer → how long each waits: a discrete-event simulation.

Arrivals are a Poisson process, as of many clients that know nothing of each other. The same seed gives the same result.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import ConfigurationError
from service.planning.balancing import BALANCERS, Balancer, Uniform
from service.planning.process import Batch, Kind, Outcomes, Process
from service.planning.replica import Replica

MOST_PROCESSES = 1000
MOST_REQUESTS = 2_000_000
"""In one simulation: each takes about 10 µs."""
REQUESTS_A_PROCESS = 400
LEAST_REQUESTS = 40_000
"""So many that some hundreds of them are above the p99."""
ENOUGH_REQUESTS = 200_000
WARM_UP = 0.2
"""The share of the requests at the start that is not counted, while the queues fill."""
_FACTORS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second, for a number of equal processes behind a balancer of `BALANCERS`."""

    per_second: float
    processes: int = 1
    balancer: str = "least-outstanding"


@dataclass(frozen=True, slots=True)
class Result:
    """What was counted after the warm-up. Times are seconds.

    Attributes:
        requests: how many were counted.
        seconds: from the first to the last of them.
        latencies: of those that were answered in time, ascending.
        failed: the share that was refused or late.
        batch: images in a batch on average, over the whole time.
        busy: the share of the time in which a worker is busy, over the whole time.
    """

    requests: int
    seconds: float
    latencies: NDArray[np.float64]
    failed: float
    batch: float
    busy: float

    def percentile(self, share: float) -> float:
        """Return the latency that this share of all requests does not exceed; those that failed exceed any."""
        index = math.ceil(share * self.requests) - 1
        return float(self.latencies[index]) if index < len(self.latencies) else math.inf

    @property
    def p50(self) -> float:
        return self.percentile(0.5)

    @property
    def p99(self) -> float:
        return self.percentile(0.99)

    @property
    def answered(self) -> float:
        """The requests a second that were answered in time."""
        return len(self.latencies) / self.seconds if self.seconds else math.nan

    @property
    def mean(self) -> float:
        """The mean latency of those that were answered in time."""
        return float(self.latencies.mean()) if len(self.latencies) else math.inf


def requests_for(processes: int) -> int:
    """Return how many requests show the p99 of so many processes."""
    return min(ENOUGH_REQUESTS, max(LEAST_REQUESTS, REQUESTS_A_PROCESS * processes))


def simulate(replica: Replica, load: Load, *, requests: int | None = None, seed: int = 0) -> Result:
    """Simulate a load.

    Args:
        replica: the figures of each process.
        load: how many requests a second, and how they are shared out.
        requests: how many; None: `requests_for` the processes.
        seed: of all random numbers.

    Raises:
        ConfigurationError: the rate, the number of processes or of requests can not be simulated, or there is no such
            balancer.
    """
    count = requests_for(load.processes) if requests is None else requests
    _check(load, count)
    if load.balancer == "random":
        # Each process gets a Poisson process of its own, so one of them shows what each does, and exactly.
        load = Load(load.per_second / load.processes, 1, load.balancer)
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / load.per_second, count)).tolist()
    course = _Course(replica, load, arrivals, random)
    course.run()
    counted = arrivals[int(count * WARM_UP) :]
    answered = np.asarray(course.outcomes.answered[int(count * WARM_UP) :])
    taken = answered - np.asarray(counted)
    latencies = np.sort(taken[np.isfinite(taken)])
    batches = sum(one.batches for one in course.processes)
    worked = sum(one.busy_seconds for one in course.processes)
    seconds = course.now * load.processes * replica.concurrency
    return Result(
        requests=len(counted),
        seconds=counted[-1] - counted[0],
        latencies=latencies,
        failed=1 - len(latencies) / len(counted),
        batch=sum(one.images for one in course.processes) / batches if batches else 0.0,
        busy=worked / seconds,
    )


def _check(load: Load, requests: int) -> None:
    if not 0 < load.per_second < math.inf:
        raise ConfigurationError(
            f"A load of {load.per_second:g} requests a second can not be simulated. Give a number above 0."
        )
    if not 1 <= load.processes <= MOST_PROCESSES:
        raise ConfigurationError(
            f"{load.processes} processes can not be simulated. Give 1 to {MOST_PROCESSES}."
        )
    if not 1 <= requests <= MOST_REQUESTS:
        raise ConfigurationError(
            f"{requests} requests can not be simulated. Give 1 to {MOST_REQUESTS}."
        )
    if load.balancer not in BALANCERS:
        raise ConfigurationError(
            f"There is no balancer {load.balancer!r}. Balancers: {', '.join(BALANCERS)}."
        )


class _Course:
    """One simulation while it runs."""

    def __init__(
        self, replica: Replica, load: Load, arrivals: list[float], random: np.random.Generator
    ) -> None:
        self.now = 0.0
        self.outcomes = Outcomes(len(arrivals))
        self._arrivals = arrivals
        self._events: list[tuple[float, Kind, int, Process, Batch]] = []
        self._number = 0
        draw = _factors(replica, random)
        self.processes = [
            Process(
                index,
                replica,
                arrivals=arrivals,
                outcomes=self.outcomes,
                schedule=self._schedule,
                draw=draw,
            )
            for index in range(load.processes)
        ]
        self._balancer: Balancer = BALANCERS[load.balancer](self.processes, Uniform(random))

    def run(self) -> None:
        """Run until every request is answered. Each causes a few events only, so this ends."""
        events, balancer, processes = self._events, self._balancer, self.processes
        for request, at in enumerate(self._arrivals):
            while events and events[0][0] <= at:
                self._step()
            self.now = at
            process = processes[balancer.choose()]
            process.outstanding += 1
            balancer.changed(process.index, process.outstanding)
            self._followed(process, process.arrive, request)
        while events:
            self._step()

    def _followed(self, process: Process, act: Callable[[int, float], None], request: int) -> None:
        """Let a process act, and tell the balancer of requests that it gave up meanwhile."""
        before = process.outstanding
        act(request, self.now)
        self._tell(process, before)

    def _tell(self, process: Process, before: int) -> None:
        while before > process.outstanding:
            before -= 1
            self._balancer.changed(process.index, before)

    def _step(self) -> None:
        self.now, kind, _, process, batch = heapq.heappop(self._events)
        before, now = process.outstanding, self.now
        match kind:
            case Kind.ANSWERED:
                process.outstanding -= 1
            case Kind.RECEIVED:
                process.receive(batch[0], now)
            case Kind.RUN_ENDED:
                process.run_ended(batch, now)
            case Kind.WORKER_FREE:
                process.worker_free(batch, now)
            case Kind.DECODED:
                process.decoded(batch[0], now)
            case Kind.FINISHED:
                process.finished(batch, now)
            case Kind.DELAY_OVER:
                process.delay_over(now)
        self._tell(process, before)

    def _schedule(self, at: float, kind: Kind, process: Process, batch: Batch) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, kind, self._number, process, batch))


def _factors(replica: Replica, random: np.random.Generator) -> Callable[[int], float]:
    """Return what draws the factor of the time of a batch, by how many run when it begins."""
    crowded = _drawing(replica.factors, random)
    if replica.lone_factors is None:
        return lambda _: crowded()
    lone = _drawing(replica.lone_factors, random)
    return lambda busy: lone() if busy == 1 else crowded()


def _drawing(factors: tuple[float, ...], random: np.random.Generator) -> Callable[[], float]:
    if len(factors) == 1:
        (only,) = factors
        return lambda: only
    values, drawn = np.asarray(factors), list[float]()

    def draw() -> float:
        if not drawn:
            drawn.extend(random.choice(values, _FACTORS_AT_ONCE).tolist())
        return drawn.pop()

    return draw
