"""The bodies that have begun to arrive and are not complete: what they hold is counted in sum, and bounded."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.api.deadline import Clock
from service.body_memory import BodyMemory, BodyPlace
from service.errors import OverloadedError

KEPT_SHARE = 7 / 8
"""Of the limit, so much is left after bodies gave way, so that not every further piece makes another one give way."""

FETCHED_SHARE = 2
"""Requests that fetch images wait for each other where they would hold more than one in so many bytes of the limit."""


class ArrivingBodies:
    """Counts the bytes of unfinished bodies. Above the limit those give way that have cost most: bytes times seconds.

    A client that sends fast has cost little when its body is complete. One that sends the most of a body and then
    waits, or sends slowly what is large, costs more with each second. Everything runs on the event loop.

    Args:
        limit: bytes of all unfinished bodies together.
        clock: what the seconds are measured with.
        memory: what all bodies may hold of it; they give way above that, too.
    """

    def __init__(
        self, limit: int, clock: Clock = time.perf_counter, memory: BodyMemory | None = None
    ) -> None:
        self.bytes = 0
        self.limit = limit
        self.clock = clock
        self.memory = BodyMemory() if memory is None else memory
        self.memory.make_room = self._make_room_until
        self.fetched = BodyMemory(limit // FETCHED_SHARE, self.memory.capacity)
        """What is fetched: who fetches can wait before it begins, and need not give way then."""
        self._bodies: set[ArrivingBody] = set()

    @contextmanager
    def counted(self, place: BodyPlace | None = None) -> "Iterator[ArrivingBody]":
        """Count a body, whose `add` is called with each piece, while the block runs.

        Args:
            place: what it holds of the memory, which outlives the block; None: it is not counted there.
        """
        body = ArrivingBody(self, place)
        self._bodies.add(body)
        try:
            yield body
        finally:
            body.on_give_way = None
            self._remove(body)

    def count(self, body: "ArrivingBody", size: int) -> None:
        """For `ArrivingBody`."""
        if body not in self._bodies:
            return
        body.size += size
        self.bytes += size
        if self.bytes > self.limit:
            self._make_room(lambda: self.bytes <= self.limit * KEPT_SHARE, lambda _: True)
        if body.place is not None:
            body.place.came(body.size)
            if self.memory.is_full:
                self._make_room_until(lambda: not self.memory.is_full)

    def _make_room_until(self, enough: Callable[[], bool]) -> None:
        """Have bodies give way that hold memory and have not taken all that they need."""
        self._make_room(enough, lambda one: one.place is not None and one.place.may_give_way)

    def _make_room(self, enough: Callable[[], bool], may: "Callable[[ArrivingBody], bool]") -> None:
        now = self.clock()
        costliest_first = sorted(self._bodies, key=lambda one: one.cost(now), reverse=True)
        for body in filter(may, costliest_first):
            self._remove(body)
            body.give_way()
            if enough():
                return

    def _remove(self, body: "ArrivingBody") -> None:
        if body in self._bodies:
            self._bodies.remove(body)
            self.bytes -= body.size


class ArrivingBody:
    """One of them. `on_give_way` is called when it has to end; `gave_way` then says that it had."""

    def __init__(self, bodies: ArrivingBodies, place: BodyPlace | None = None) -> None:
        self.size = 0
        self.place = place
        self.gave_way = False
        self.on_give_way: Callable[[], None] | None = None
        self._bodies = bodies
        self._began = bodies.clock()

    def add(self, size: int) -> None:
        """Count a piece of so many bytes."""
        self._bodies.count(self, size)

    def cost(self, now: float) -> float:
        """Return the bytes times the seconds that it has had them for."""
        return self.size * (now - self._began)

    def give_way(self) -> None:
        """For `ArrivingBodies`."""
        self.gave_way = True
        if self.place is not None:
            self.place.close()
        if self.on_give_way is not None:
            self.on_give_way()

    def error(self) -> OverloadedError:
        """Return the error of a body that gave way."""
        most = min(self._bodies.limit, self._bodies.memory.limit or self._bodies.limit)
        if self.place is None:
            most = self._bodies.limit
        return OverloadedError(
            f"The bodies that are arriving hold {most / 2**20:g} MiB together, which is all that is "
            "allowed, and this one has held most of it for longest. Send it again, and faster."
        )
