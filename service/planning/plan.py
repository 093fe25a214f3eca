"""Requests a second and a p99 → how many machines like the measured one, and what a balancer makes of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ConfigurationError
from service.planning.balancing import BALANCERS
from service.planning.profile import Profile
from service.planning.replica import Replica
from service.planning.simulation import MOST_PROCESSES, Load, Result, simulate

MOST_FAILED = 0.001
"""The share of requests that may be refused or late."""
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""The shares of the capacity for which the latency is shown."""
IDLE = 0.001
"""The share of the capacity at which hardly any image meets another."""
IDLE_REQUESTS = 20_000
MOST_LOAD = 0.95
"""Of the capacity: nearer to it, queues grow for longer than a simulation lasts."""
PRECISION = 0.01
"""The least number of machines is found to within this share of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted: requests of one image each a second, and the seconds within which 99 % of them are answered."""

    per_second: float
    p99: float


@dataclass(frozen=True, slots=True)
class Point:
    """A load and what the simulation made of it. Times are seconds."""

    per_second: float
    p50: float
    p99: float
    failed: float

    @classmethod
    def of(cls, per_second: float, result: Result) -> "Point":
        return cls(per_second, result.p50, result.p99, result.failed)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many machines it takes.

    Attributes:
        target: what is wanted.
        balancer: how requests are shared out.
        machines: the least number that reaches the target.
        result: what it reaches with them.
        capacity: requests a second of one machine at most.
        idle: the p99 where images hardly meet, in seconds.
        one_less: what is reached while one machine is lost; None where there is only one.
        balancers: the p99 of each balancer with so many machines, in seconds.
        loads: these machines under other loads.
    """

    target: Target
    balancer: str
    machines: int
    result: Result
    capacity: float
    idle: float
    one_less: Point | None
    balancers: dict[str, float]
    loads: tuple[Point, ...]


class Planner:
    """Plans for one measurement.

    Args:
        profile: what was measured.
        replica: one process of it, with the settings of the service to be planned.
        balancer: a name of `BALANCERS`.
        seed: of the simulations.
        requests: in each of them; None: as many as show a p99.
        progress: called with what is done next.
    """

    def __init__(
        self,
        profile: Profile,
        replica: Replica,
        *,
        balancer: str = "least-outstanding",
        seed: int = 0,
        requests: int | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._profile = profile
        self._replica = replica
        self._balancer = balancer
        self._seed = seed
        self._requests = requests
        self._progress = progress
        self._known: dict[int, Result] = {}

    @property
    def capacity(self) -> float:
        """Requests a second of one machine at most."""
        return self._replica.capacity * self._profile.processes

    @property
    def most_machines(self) -> int:
        return MOST_PROCESSES // self._profile.processes

    def plan(self, target: Target) -> Plan:
        """Return the least number of machines for a target.

        Raises:
            ConfigurationError: no number of machines reaches it, or more than can be simulated.
        """
        check_target(target)
        idle = self._require_possible(target)
        machines = self._least(target)
        result = self._with(machines, target)
        self._progress("compares balancers and loads")
        total = machines * self.capacity
        return Plan(
            target=target,
            balancer=self._balancer,
            machines=machines,
            result=result,
            capacity=self.capacity,
            idle=idle,
            one_less=(
                Point.of(target.per_second, self._with(machines - 1, target))
                if machines > 1
                else None
            ),
            balancers={
                name: result.p99
                if name == self._balancer
                else self._simulate(target.per_second, machines, name).p99
                for name in (BALANCERS if machines * self._profile.processes > 1 else ())
            },
            loads=tuple(
                Point.of(share * total, self._simulate(share * total, machines, self._balancer))
                for share in LOADS
            ),
        )

    def _require_possible(self, target: Target) -> float:
        rate = IDLE * self._replica.capacity
        idle = simulate(
            self._replica, Load(rate), requests=self._requests or IDLE_REQUESTS, seed=self._seed
        ).p99
        if target.p99 < idle:
            one = self._replica
            raise ConfigurationError(
                f"99 % within {target.p99 * 1e3:g} ms is not possible on any number of machines like this: an image "
                f"that meets no other takes {one.alone * 1e3:.3g} ms (HTTP {one.http * 1e3:.2g}, decoding "
                f"{one.decode * 1e3:.3g}, network {one.lone_run * 1e3:.3g}, head {one.head * 1e3:.2g}), and 99 % of "
                f"such images take up to {idle * 1e3:.3g} ms. Give a larger --p99, a smaller image or network, or a "
                "faster device."
            )
        least = self._fewest(target)
        if least > self.most_machines:
            raise ConfigurationError(
                f"{target.per_second:g} requests a second take at least {least:,} machines, one of which "
                f"answers {self.capacity:,.3g}; {self.most_machines:,} can be simulated. Plan a part of the load."
            )
        return idle

    def _fewest(self, target: Target) -> int:
        """Return the least number of machines that are not overloaded."""
        return max(1, math.ceil(target.per_second / (MOST_LOAD * self.capacity)))

    def _least(self, target: Target) -> int:
        """Return the least number of machines, to within `PRECISION`: more never make it worse."""
        high = self._fewest(target)
        low = high - 1
        while not self._reaches(high, target):
            if high == self.most_machines:
                raise ConfigurationError(
                    f"Not even {high:,} machines reach 99 % within {target.p99 * 1e3:g} ms at {target.per_second:g} "
                    f"requests a second; more can not be simulated. Give a larger --p99, or plan a part of the load."
                )
            low, high = high, min(self.most_machines, max(high + 1, math.ceil(high * 1.2)))
        while high - low > max(1, int(PRECISION * high)):
            middle = (low + high) // 2
            low, high = (low, middle) if self._reaches(middle, target) else (middle, high)
        return high

    def _reaches(self, machines: int, target: Target) -> bool:
        self._progress(f"simulates {machines:,} {'machine' if machines == 1 else 'machines'}")
        result = self._with(machines, target)
        return result.p99 <= target.p99 and result.failed <= MOST_FAILED

    def _with(self, machines: int, target: Target) -> Result:
        if machines not in self._known:
            self._known[machines] = self._simulate(target.per_second, machines, self._balancer)
        return self._known[machines]

    def _simulate(self, per_second: float, machines: int, balancer: str) -> Result:
        load = Load(per_second, machines * self._profile.processes, balancer)
        return simulate(self._replica, load, requests=self._requests, seed=self._seed)


def check_target(target: Target) -> None:
    """Refuse what is no target.

    Raises:
        ConfigurationError: a number is not above 0.
    """
    if not 0 < target.per_second < math.inf:
        raise ConfigurationError(
            f"--rps {target.per_second:g}: give the requests a second as a number above 0."
        )
    if not 0 < target.p99 < math.inf:
        raise ConfigurationError(
            f"--p99 {target.p99 * 1e3:g}: give milliseconds as a number above 0."
        )
