"""A request's body, whole: within its limit, before its deadline, and where it is large in its turn."""

import asyncio

from fastapi import Request

from service.api.deadline import TIMEOUT_HEADER, requested_timeout, time_left
from service.api.deps import RequestRecord, Services, announced_bytes
from service.api.ingest.admission import Admission, Turn
from service.errors import BodyTooLargeError, ClientLeftError, DeadlineError

LARGE_BYTES = 256 * 1024
"""Bodies larger than this are received in turn, and taken apart on a thread: the event loop has others to serve."""


async def read_body(
    request: Request, services: Services, record: RequestRecord, *, held: bool = True
) -> bytes:
    """Return the whole body, refusing it as soon as it is known to be too large.

    Args:
        request: whose body has not been read.
        services: the limits and the intake.
        record: gets the body's size.
        held: whether a large body counts as held until the answer begins, so that others wait to be received.

    Raises:
        BodyTooLargeError: announced or streamed, it has more than `max_body_bytes`.
        ClientLeftError: it was not sent to its end.
        DeadlineError: it was not there before the request's deadline.
        OverloadedError: too many large ones wait to be received.
        InvalidParameterError: the deadline is none.
    """
    timeout_seconds = requested_timeout(request, services.timeout_seconds)
    announced = announced_bytes(request) or 0
    received = _Received(request, services.max_body_bytes)
    received.check(announced)
    if announced > LARGE_BYTES or await received.more():  # small ones come whole, and need no alarm
        try:
            async with asyncio.timeout(time_left(request, record, services.timeout_seconds)):
                await _read_on(received, announced, services.admission)
        except TimeoutError:
            raise DeadlineError(
                f"The body was not there within {timeout_seconds * 1e3:.0f} ms. Send a smaller image, or allow more "
                f"time with {TIMEOUT_HEADER}."
            ) from None
    record.body_bytes = received.size
    if held and received.size > LARGE_BYTES:
        services.admission.hold(received.size)
        record.held_bytes = received.size
    return received.whole()


async def _read_on(received: "_Received", announced: int, admission: Admission) -> None:
    """Receive what is missing of a body; as soon as it is known to be large, in its turn."""
    turn: Turn | None = None
    more = True
    try:
        while more:
            if turn is None and max(announced, received.size) > LARGE_BYTES:
                turn = await admission.turn()
            more = await received.more()
            if turn is not None:
                turn.came()
    finally:
        if turn is not None:
            turn.end()


class _Received:
    """What has come of a body."""

    def __init__(self, request: Request, limit: int) -> None:
        self.size = 0
        self._receive = request.receive
        self._limit = limit
        self._chunks: list[bytes] = []

    async def more(self) -> bool:
        """Wait for the next piece and return whether there are more behind it.

        Raises:
            BodyTooLargeError, ClientLeftError
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError(
                "The client closed its connection before all of the body was there."
            )
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        self.check(self.size)
        self._chunks.append(chunk)
        more: bool = message.get("more_body", False)
        return more

    def check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(
                f"The body is larger than the {self._limit / 2**20:g} MiB allowed. Send a smaller image."
            )

    def whole(self) -> bytes:
        """Return the body; what it was joined from is let go."""
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)
