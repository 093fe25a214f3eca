"""What the bodies of requests may hold of the memory of this process, with the copies that reading them makes."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service.errors import BodyTooLargeError, OverloadedError

LEAVE_SECONDS = 2.0
"""A sender that pauses for so long, or sends less than `LEAVE_BYTES` in it, keeps no memory for what has not come."""
LEAVE_BYTES = 256 * 1024


class BodyMemory:
    """Counts the bytes of bodies that arrive, wait or are held; without a limit nothing ever waits.

    A body that arrives slowly is counted by what it has sent. One that takes its room is counted by all that it needs,
    and waits until that fits, first come, first served. Everything runs on the event loop.

    Args:
        limit: bytes of all bodies together; None: any number.
        capacity: how many bodies may wait for room.
    """

    def __init__(self, limit: int | None = None, capacity: int = 256) -> None:
        self.bytes = 0
        self.limit = limit
        self.capacity = capacity
        self.make_room: Callable[[Callable[[], bool]], None] = lambda _: None
        """Have arriving bodies give way until there is enough; set by what knows them."""
        self.beside: Callable[[int], bool] = lambda _: True
        """Whether so many bytes of all bodies fit beside what else takes memory; set by what knows that."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when `bytes` has changed."""
        self._lent = 0
        self._taken = 0
        self._makes_room = False
        self._waiting: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """How many bodies wait for room."""
        return len(self._waiting)

    def place(self) -> "BodyPlace":
        """Return the place of a body, which holds nothing yet and must be closed."""
        return BodyPlace(self)

    def fit(self, limit: int | None) -> None:
        """Allow so many bytes from now on."""
        self.limit = limit
        self._settle()

    def lend(self, size: int) -> None:
        """Have so many bytes less from now on: others hold them, and give them back later."""
        if size != self._lent:
            self._lent = size
            self._settle()

    def settle(self) -> None:
        """Admit those that wait as far as they fit now."""
        if self._waiting:
            self._settle()

    def can_lend(self, size: int) -> bool:
        """Whether so many bytes are not held."""
        return self.limit is None or self.bytes <= self.limit - size

    def require(self, size: int, copies: int, *, beside: int = 0, what: str = "The body") -> None:
        """Refuse a body that never fits.

        Args:
            size: of the body in bytes.
            copies: how many times it is held while it is read.
            beside: further bytes that its request holds.
            what: the message says of it.

        Raises:
            BodyTooLargeError: it needs more than all bodies may hold.
        """
        if self.limit is not None and size * copies > self.limit - beside:
            times = f" once, and {copies} times while it is read" if copies > 1 else ""
            most = max(0, self.limit - beside) / copies
            raise BodyTooLargeError(
                f"{what} is larger than the {most / 2**20:.1f} MiB that the memory of the service has "
                f"room for{times}. Send a smaller one, an image as it is; or its operator gives the service more "
                "memory or fewer workers, or sets a lower FOVEAL_MAX_PIXELS."
            )

    @property
    def is_full(self) -> bool:
        """Whether the bodies hold more than is allowed."""
        return self.limit is not None and self.bytes > self.limit - self._lent

    def count(self, place: "BodyPlace", size: int, *, taken: bool) -> None:
        """For `BodyPlace`."""
        self._set(place, size, taken=taken)
        self._settle()

    async def take(self, place: "BodyPlace", size: int) -> None:
        """For `BodyPlace`."""
        waiter = _Waiter(place, size, asyncio.get_running_loop().create_future())
        if self._next() is None and self._fits(waiter):
            self._set(place, size, taken=True)
            return
        if len(self._waiting) >= self.capacity:
            raise OverloadedError(
                f"{len(self._waiting)} bodies already wait for memory. Try again in a moment."
            )
        self._waiting.append(waiter)
        try:
            self._settle()
            await waiter.admitted
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._settle()

    def end(self, place: "BodyPlace") -> None:
        """For `BodyPlace`: it holds nothing any more, and waits for nothing."""
        for waiter in [one for one in self._waiting if one.place is place]:
            self._waiting.remove(waiter)
        self.count(place, 0, taken=False)

    def _set(self, place: "BodyPlace", size: int, *, taken: bool) -> None:
        self.bytes += size - place.size
        self._taken += (size if taken else 0) - (place.size if place.taken else 0)
        place.size, place.taken = size, taken
        self.on_change()

    def _fits(self, waiter: "_Waiter") -> bool:
        total = self.bytes - waiter.place.size + waiter.size
        return self._fits_here(waiter) and (self.limit is None or self.beside(total))

    def _fits_here(self, waiter: "_Waiter") -> bool:
        if self.limit is None:
            return True
        others = self.bytes - waiter.place.size
        alone = not others and not self._lent
        return alone or others + waiter.size <= self.limit - self._lent

    def _next(self) -> "_Waiter | None":
        """Return the first that waits for the bodies before it, and not for what is lent."""
        if self.limit is None or not self._lent:
            return self._waiting[0] if self._waiting else None
        room = self.limit - self._lent
        return next((one for one in self._waiting if one.size <= room), None)

    def _settle(self) -> None:
        """Admit those that wait as far as they fit; what only arrives gives way where nothing else would end."""
        if self._makes_room:
            return
        while (first := self._next()) is not None:
            if not self._fits_here(first) and not self._taken:
                # Nobody works, so nobody would end: each would wait for the others until its deadline.
                self._makes_room = first.place.is_next = True
                self.make_room(partial(self._fits_here, first))
                self._makes_room = first.place.is_next = False
            if not self._fits(first):
                return
            self._waiting.remove(first)
            if not first.admitted.done():
                self._set(first.place, first.size, taken=True)
                first.admitted.set_result(None)


class BodyPlace:
    """What one body holds, until it is closed. `taken`: it has all that it needs."""

    def __init__(self, memory: BodyMemory) -> None:
        self.size = 0
        self.taken = False
        self.is_next = False
        """Whether others give way for it now."""
        self._memory = memory
        self._closed = False

    @property
    def may_give_way(self) -> bool:
        """Whether it has only what has arrived, and nobody makes room for it."""
        return not (self.taken or self.is_next or self._closed)

    def came(self, size: int) -> None:
        """Count what has arrived, so many bytes in all; one that has taken its room is counted already."""
        if not self.taken and not self._closed:
            self._memory.count(self, size, taken=False)

    async def take(self, size: int) -> None:
        """Wait until so many bytes fit, and count them in place of what was counted.

        Raises:
            OverloadedError: too many wait already.
        """
        if self.taken and size <= self.size:
            self.shrink(size)
        elif not self._closed:
            await self._memory.take(self, size)

    def keep(self, size: int) -> None:
        """Have all that is needed, so many bytes, which have arrived."""
        if not self._closed:
            self._memory.count(self, size, taken=True)

    def leave(self, size: int) -> None:
        """Give back what was taken, but for the bytes that have arrived."""
        if self.taken:
            self._memory.count(self, size, taken=False)

    def shrink(self, size: int) -> None:
        """Count no more than so many bytes from now on."""
        if self.size > size:
            self._memory.count(self, size, taken=self.taken)

    def close(self) -> None:
        """Hold nothing any more; again does nothing."""
        if not self._closed:
            self._closed = True
            self._memory.end(self)


@dataclass(slots=True, eq=False)
class _Waiter:
    place: BodyPlace
    size: int
    admitted: "asyncio.Future[None]"
