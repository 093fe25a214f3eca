"""Large bodies are received in turn, so that the bodies of unfinished requests fit into memory."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from service.errors import OverloadedError

PAUSE_SECONDS = 0.01
"""A client that sends nothing for so long ends its turn. On the same machine or network, clients send sooner."""
BODIES_PER_TURN = 2
"""Bodies of any size that may be held for each one that may be received at once: one at work, one ready."""


class Alarm(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


Timer = Callable[[float, Callable[[], None]], Alarm]
"""Call a function after so many seconds, on the event loop."""


class Admission:
    """Decides which large body is received next: first come, first served.

    A body gets a turn when two conditions hold. Fewer than `turns` other bodies have a turn. And the held bodies, those
    that are received and whose response has not started, leave room: they are smaller than `room` together, or fewer
    than two for each turn, so that worker threads do not run out of images. The bytes of a body that waits stay with
    its client, because its connection is not read.

    A turn ends with its body. It also ends when the client pauses; the rest of this body is then received beside the
    next one, so that a slow connection does not delay others. The memory of large bodies is thus bounded by the room
    and the turns, except for what slow clients have sent.

    Everything runs on the event loop; nothing here is thread-safe.

    Args:
        turns: bodies received at once, of clients that do not pause.
        room: bytes of held bodies.
        capacity: bodies that may wait for a turn.
        timer: calls a function later; the running event loop's `call_later` by default.
    """

    def __init__(self, turns: int, room: int, capacity: int, timer: Timer | None = None) -> None:
        self.held_bytes = 0
        self._held = 0
        self._turns = turns
        self._room = room
        self._capacity = capacity
        self._timer = timer or _call_later
        self._receiving = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many bodies wait for a turn."""
        return len(self._waiting)

    async def turn(self) -> "Turn":
        """Wait for a turn and return it; the caller must end it.

        Raises:
            OverloadedError: `capacity` bodies wait already.
        """
        if self._waiting or not self._is_open():
            await self._wait()
        else:
            self._receiving += 1
        return Turn(self, self._timer)

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a received body of so many bytes as held while the block runs."""
        self._held += 1
        self.held_bytes += size
        try:
            yield
        finally:
            self._held -= 1
            self.held_bytes -= size
            self._admit()

    def end_turn(self) -> None:
        """For `Turn`: let the next body be received."""
        self._receiving -= 1
        # In the next step of the event loop, because the body of this turn is held only after its turn.
        asyncio.get_running_loop().call_soon(self._admit)

    def _is_open(self) -> bool:
        few = self._held < self._turns * BODIES_PER_TURN
        return self._receiving < self._turns and (few or self.held_bytes < self._room)

    def _admit(self) -> None:
        while self._waiting and self._is_open():
            admitted = self._waiting.popleft()
            if not admitted.done():  # a request that was canceled in this step of the event loop
                self._receiving += 1
                admitted.set_result(None)

    async def _wait(self) -> None:
        if len(self._waiting) >= self._capacity:
            raise OverloadedError(
                f"{len(self._waiting)} large bodies already wait to be received. Try again in a moment."
            )
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():  # it was admitted in the same step of the event loop
                self.end_turn()
            elif admitted in self._waiting:
                self._waiting.remove(admitted)
            raise


class Turn:
    """The turn of one body; it ends once, with the body or when its client pauses."""

    def __init__(self, admission: Admission, timer: Timer) -> None:
        self._admission = admission
        self._timer = timer
        self._ended = False
        self.on_end: Callable[[], None] = lambda: None
        self._alarm = timer(PAUSE_SECONDS, self.end)

    def received(self) -> None:
        """Note that a piece of the body arrived; a pause counts from now."""
        if not self._ended:
            self._alarm.cancel()
            self._alarm = self._timer(PAUSE_SECONDS, self.end)

    def end(self) -> None:
        """End the turn; again does nothing."""
        if not self._ended:
            self._ended = True
            self._alarm.cancel()
            self.on_end()
            self._admission.end_turn()


def _call_later(seconds: float, call: Callable[[], None]) -> Alarm:
    return asyncio.get_running_loop().call_later(seconds, call)
