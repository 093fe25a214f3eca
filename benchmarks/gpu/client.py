"""One client of the load generator: a connection on which one request follows the other."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

clock = time.perf_counter
"""Seconds. The clock of uvloop's event loop has whole milliseconds only."""


class UnreadableError(Exception):
    """An answer is not one that this client can read."""


@dataclass(slots=True)
class Record:
    """What clients counted.

    Attributes:
        sent: requests that were written whole.
        statuses: answers by status.
        answers: when each answer with status 2xx came, by `clock`, and how long it took; in seconds.
        broken: requests whose connection ended before their answer, or whose answer could not be read.
        refused: connections that could not be opened.
    """

    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    answers: list[tuple[float, float]] = field(default_factory=list)
    broken: int = 0
    refused: int = 0

    @property
    def unanswered(self) -> int:
        return self.sent - sum(self.statuses.values()) - self.broken


@dataclass(slots=True)
class Course:
    """How long clients go on: until a time of `clock`, or until together they have sent so many."""

    until: float
    most: int | None = None

    def goes_on(self, now: float, sent: int) -> bool:
        return now < self.until and (self.most is None or sent < self.most)


class Connection(asyncio.Protocol):
    """Sends the request, waits for its answer, and sends it again, until the course is over.

    Args:
        request: the bytes of a whole request.
        record: where it counts.
        course: how long it goes on.

    Attributes:
        over: done when the connection has ended; the result is whether another one should take its place.
    """

    def __init__(self, request: bytes, record: Record, course: Course) -> None:
        self._request = request
        self._record = record
        self._course = course
        self._received = bytearray()
        self._began = 0.0
        self._waiting = False
        self._transport: asyncio.Transport | None = None
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of a class of its own
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            status = whole_answer(self._received)
        except UnreadableError:
            self._break()
            return
        if status is None:
            return
        now = clock()
        self._waiting = False
        self._received.clear()
        statuses = self._record.statuses
        statuses[status] = statuses.get(status, 0) + 1
        if 200 <= status < 300:
            self._record.answers.append((now, now - self._began))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a Protocol's
        if self._waiting:
            self._waiting = False
            self._record.broken += 1
        self._finish()

    def abandon(self) -> None:
        """Close without waiting for the answer, which then counts as unanswered."""
        self._waiting = False
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        now = clock()
        if not self._course.goes_on(now, self._record.sent):
            self._transport.close()
            return
        self._record.sent += 1
        self._began, self._waiting = now, True
        self._transport.write(self._request)

    def _break(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(self._course.goes_on(clock(), self._record.sent))


def whole_answer(received: bytearray) -> int | None:
    """Return the status of a response that has come whole; None while a part is missing.

    Raises:
        UnreadableError: it is no HTTP/1.1 response, or more came than belongs to it.
    """
    head_end = received.find(HEAD_END)
    if head_end < 0:
        return None
    lines = bytes(received[:head_end]).split(b"\r\n")
    words = lines[0].split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise UnreadableError(lines[0][:80].decode("latin-1"))
    fields = {
        name.strip().lower(): text.strip()
        for name, _, text in (line.partition(b":") for line in lines[1:])
    }
    body = len(received) - head_end - len(HEAD_END)
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return int(words[1]) if received.endswith(LAST_CHUNK) else None
    length = fields.get(b"content-length", b"0")
    if not length.isdigit() or body > int(length):
        raise UnreadableError("more came than the answer's Content-Length")
    return int(words[1]) if body == int(length) else None
