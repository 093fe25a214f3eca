"""Large bodies are received in turn, so that those that wait for their answer fit into memory."""

import asyncio
from collections import deque

from service.errors import OverloadedError

PAUSE_SECONDS = 0.01
"""After so long without a byte the next body's turn begins; a client on the same machine or network sends sooner."""
BODIES_A_TURN = 2
"""So many bodies for each that is received at once are held whatever they weigh: one at work, one ready."""


class Admission:
    """Says whose body may come next, first come first served.

    A body gets its turn when fewer than `turns` others have theirs and those that wait for their answer leave room:
    they have fewer than `room` bytes, or are so few that workers would want for images. A body that waits stays with
    its client, whose connection is not read. A turn ends with the body, or when its client pauses: then the body goes
    on beside the next one, so that a slow link holds up nobody. What is held is thus bounded by the room and the turns,
    but for what slow clients have sent. All of it runs on the event loop.

    Args:
        turns: bodies received at once, of clients that do not pause.
        room: bytes of bodies that wait for their answer.
        capacity: bodies that may wait for their turn.
    """

    def __init__(self, turns: int, room: int, capacity: int) -> None:
        self.held_bytes = 0
        self._held = 0
        self._turns = turns
        self._room = room
        self._capacity = capacity
        self._receiving = 0
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many bodies wait for their turn."""
        return len(self._line)

    async def turn(self) -> "Turn":
        """Wait for a turn.

        Raises:
            OverloadedError: too many wait already.
        """
        if self._line or not self._open():
            await self._wait()
        else:
            self._receiving += 1
        return Turn(self)

    def hold(self, size: int) -> None:
        """Count a body of so many bytes in, until `release` counts it out."""
        self._held += 1
        self.held_bytes += size

    def release(self, size: int) -> None:
        self._held -= 1
        self.held_bytes -= size
        self._admit()

    def end_turn(self) -> None:
        self._receiving -= 1
        # A moment later, so that a body which has just come is held by then.
        asyncio.get_running_loop().call_soon(self._admit)

    def _open(self) -> bool:
        few = self._held < self._turns * BODIES_A_TURN
        return self._receiving < self._turns and (few or self.held_bytes < self._room)

    def _admit(self) -> None:
        while self._line and self._open():
            admitted = self._line.popleft()
            if not admitted.done():  # or its caller has just given up
                self._receiving += 1
                admitted.set_result(None)

    async def _wait(self) -> None:
        if len(self._line) >= self._capacity:
            raise OverloadedError(
                f"{len(self._line)} large bodies wait already to be received. Try again in a moment."
            )
        admitted = asyncio.get_running_loop().create_future()
        self._line.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():
                self.end_turn()
            elif admitted in self._line:
                self._line.remove(admitted)
            raise


class Turn:
    """One body's turn; `came` is told of every piece of it."""

    def __init__(self, admission: Admission) -> None:
        self._intake = admission
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._alarm = self._loop.call_later(PAUSE_SECONDS, self.end)

    def came(self) -> None:
        if not self._ended:
            self._alarm.cancel()
            self._alarm = self._loop.call_later(PAUSE_SECONDS, self.end)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._alarm.cancel()
            self._intake.end_turn()
