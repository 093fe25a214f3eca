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


async def send(port: int, request: bytes, per_second: float, seconds: float, seed: int) -> Answers:
    """Send at this mean rate with Poisson arrivals, then wait for the last answers."""
    answers, idle = Answers(), list[_Connection]()
    loop, gaps = asyncio.get_running_loop(), random.Random(seed)
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        if idle:
            connection = idle.pop()
        else:
            try:
                _, connection = await loop.create_connection(_Connection, HOST, port)
            except OSError:
                answers.broken += 1
                return
        status = await connection.ask(request)
        taken = time.perf_counter() - due
        if status == 200:
            answers.seconds.append(taken)
        else:
            answers.refused += status == 503
            answers.late += status == 504
            answers.broken += status not in {503, 504}
        if connection.transport is not None and not connection.transport.is_closing():
            idle.append(connection)

    due = began = time.perf_counter()
    while (due := due + gaps.expovariate(per_second)) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        answers.delayed += time.perf_counter() > due + 1e-3
        if len(tasks) >= MOST_OPEN:
            answers.broken += 1
            continue
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for task in left:
            task.cancel()
            answers.broken += 1
    for connection in idle:
        if connection.transport is not None:
            connection.transport.abort()
    return answers
