"""Sends a request at random times, whether or not answers come, and counts from when each was due.

A client that waits for its answer before it sends again would hide how long others had to wait.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import cast

from benchmarks.gpu.client import UnreadableError, whole_answer
from benchmarks.server import HOST

GRACE_SECONDS = 35.0
"""How long answers are waited for after the last request: longer than the service's own deadline."""
MOST_OPEN = 2000


@dataclass(slots=True)
class Answers:
    """What came back.

    Attributes:
        seconds: from when each request was due to its answer with status 200.
        refused: answers with status 503.
        late: answers with status 504.
        broken: all else.
        delayed: requests that were sent more than a millisecond after they were due.
    """

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    late: int = 0
    broken: int = 0
    delayed: int = 0

    @property
    def sent(self) -> int:
        return len(self.seconds) + self.refused + self.late + self.broken


class _Connection(asyncio.Protocol):
    """A connection that waits for one answer at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def ask(self, request: bytes) -> int:
        """Return the status of the answer; 0 where none came."""
        assert self.transport is not None
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            status = whole_answer(self._received)
        except UnreadableError:
            status = 0
        if status is not None:
            self._settle(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a Protocol's
        self._settle(0)

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


@dataclass(frozen=True, slots=True)
class Course:
    """Requests a second at random times, for some seconds, of which a share at the start is not counted."""

    per_second: float
    seconds: float
    uncounted: float = 0.0
    seed: int = 0


async def send(port: int, request: bytes, course: Course) -> Answers:
    """Send with Poisson arrivals, then wait for the last answers."""
    sender, gaps = _Sender(port, request), random.Random(course.seed)
    due = began = time.perf_counter()
    counted = began + course.seconds * course.uncounted
    while (due := due + gaps.expovariate(course.per_second)) < began + course.seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sender.send(due, counts=due >= counted)
    return await sender.end()


class _Sender:
    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._answers = Answers()
        self._idle: list[_Connection] = []
        self._open: set[asyncio.Task[None]] = set()

    def send(self, due: float, *, counts: bool) -> None:
        """Send a request that was due at this time of `perf_counter`."""
        if counts:
            self._answers.delayed += time.perf_counter() > due + 1e-3
        if len(self._open) >= MOST_OPEN:
            self._answers.broken += counts
            return
        task = asyncio.create_task(self._one(due, counts=counts))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def end(self) -> Answers:
        """Wait for the answers that are due."""
        if self._open:
            _, left = await asyncio.wait(self._open, timeout=GRACE_SECONDS)
            for task in left:
                task.cancel()
                self._answers.broken += 1
        for connection in self._idle:
            connection.close()
        return self._answers

    async def _one(self, due: float, *, counts: bool) -> None:
        try:
            connection = self._idle.pop() if self._idle else await self._connected()
        except OSError:
            self._answers.broken += counts
            return
        status = await connection.ask(self._request)
        if counts:
            self._count(status, time.perf_counter() - due)
        if connection.is_open:
            self._idle.append(connection)

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, HOST, self._port)
        return connection

    def _count(self, status: int, seconds: float) -> None:
        if status == 200:
            self._answers.seconds.append(seconds)
        else:
            self._answers.refused += status == 503
            self._answers.late += status == 504
            self._answers.broken += status not in {503, 504}
