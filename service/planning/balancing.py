"""How a balancer chooses among processes for each request: by lot, in turn, or by how many requests each has open."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from service.planning.process import Process

_DRAWN_AT_ONCE = 4096


class Balancer(Protocol):
    """Chooses a process for each request. It knows the requests that it has sent and not seen answered."""

    def choose(self) -> int:
        """Return the index of the process that gets the next request."""

    def changed(self, index: int, outstanding: int) -> None:
        """Note how many requests a process has open now: one more or one less than before."""


class Uniform:
    """Uniform numbers, drawn many at a time."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._drawn: list[float] = []

    def below(self, count: int) -> int:
        """Return an integer from 0 to `count` − 1."""
        if not self._drawn:
            self._drawn = self._random.random(_DRAWN_AT_ONCE).tolist()
        return int(self._drawn.pop() * count)


class RandomChoice:
    """Each process with the same probability, as many clients that each stay with one process."""

    def __init__(self, processes: Sequence[Process], uniform: Uniform) -> None:
        self._count = len(processes)
        self._uniform = uniform

    def choose(self) -> int:
        return self._uniform.below(self._count)

    def changed(self, index: int, outstanding: int) -> None:
        """Need no counts."""


class RoundRobin:
    """One after the other."""

    def __init__(self, processes: Sequence[Process], _: Uniform) -> None:
        self._count = len(processes)
        self._next = -1

    def choose(self) -> int:
        self._next = (self._next + 1) % self._count
        return self._next

    def changed(self, index: int, outstanding: int) -> None:
        """Need no counts."""


class PowerOfTwo:
    """The one of two, drawn by lot, that has fewer requests open.

    Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 2001.
    """

    def __init__(self, processes: Sequence[Process], uniform: Uniform) -> None:
        self._processes = processes
        self._uniform = uniform

    def choose(self) -> int:
        count = len(self._processes)
        one = self._uniform.below(count)
        if count == 1:
            return one
        other = (one + 1 + self._uniform.below(count - 1)) % count
        fewer = self._processes[other].outstanding < self._processes[one].outstanding
        return other if fewer else one

    def changed(self, index: int, outstanding: int) -> None:
        """Read the counts of the processes themselves."""


class LeastOutstanding:
    """The process with the fewest requests open; among equals by lot.

    `_levels[n]` are the processes with n requests open, and `_places[i]` says where in its level process i is, so that
    each step takes the same time for any number of processes.
    """

    def __init__(self, processes: Sequence[Process], uniform: Uniform) -> None:
        count = len(processes)
        self._uniform = uniform
        self._levels = [list(range(count))]
        self._places = list(range(count))
        self._level_of = [0] * count
        self._lowest = 0

    def choose(self) -> int:
        level = self._levels[self._lowest]
        return level[self._uniform.below(len(level))]

    def changed(self, index: int, outstanding: int) -> None:
        before, place = self._levels[self._level_of[index]], self._places[index]
        last = before.pop()
        if last != index:
            before[place] = last
            self._places[last] = place
        while len(self._levels) <= outstanding:
            self._levels.append([])
        after = self._levels[outstanding]
        self._places[index] = len(after)
        self._level_of[index] = outstanding
        after.append(index)
        self._lowest = min(self._lowest, outstanding)
        while not self._levels[self._lowest]:
            self._lowest += 1


BALANCERS: Mapping[str, Callable[[Sequence[Process], Uniform], Balancer]] = {
    "least-outstanding": LeastOutstanding,
    "power-of-two": PowerOfTwo,
    "round-robin": RoundRobin,
    "random": RandomChoice,
}
"""By name, the best first."""
