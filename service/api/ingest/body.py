"""A request's whole body: within its size limit, before its deadline, and in turn where it is large."""

from typing import Protocol

from fastapi import Request

from service.api.ingest.admission import Admission, Turn
from service.api.record import RequestRecord, announced_bytes
from service.errors import BodyTooLargeError, ClientLeftError

LARGE_BYTES = 256 * 1024
"""Larger bodies are received in turn, and parsed on a thread, so that the event loop can serve other requests."""


class BodyLimits(Protocol):
    """What bounds the bodies of requests with images."""

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_images(self) -> int: ...
    @property
    def admission(self) -> Admission: ...


async def read_body(
    request: Request, limits: BodyLimits, record: RequestRecord, *, held: bool = True
) -> bytes:
    """Return the whole body.

    Args:
        request: its body must not have been read.
        limits: the largest size, and the admission of large bodies.
        record: has the deadline; gets the body's size.
        held: whether a large body counts as held until the response starts, so that other bodies wait.

    Raises:
        BodyTooLargeError: it is larger than `max_body_bytes`, by its announced size or as soon as so much has arrived.
        ClientLeftError: the client closed its connection before the body's end.
        DeadlineError: the body did not arrive before the request's deadline.
        OverloadedError: too many large bodies wait to be received.
        InvalidParameterError: the deadline that the client sent is not valid.
    """
    deadline = record.deadline
    announced = announced_bytes(request) or 0
    received = _Received(request, limits.max_body_bytes)
    received.check(announced)
    # A small body is usually complete in its first message. A timer for it would cost LeNet-5 2.5 % of its throughput.
    if announced > LARGE_BYTES or await received.more():
        async with deadline.limit(deadline.body_late):
            await _receive_rest(received, announced, limits.admission)
    record.body_bytes = received.size
    if held and received.size > LARGE_BYTES:
        record.release_with_response(limits.admission.hold(received.size))
    return received.take()


async def next_chunk(request: Request) -> tuple[bytes, bool]:
    """Return the next piece of the body, and whether more pieces follow it.

    Raises:
        ClientLeftError: the client closed its connection before the body's end.
    """
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientLeftError("The client closed its connection before the end of the body.")
    return message.get("body", b""), message.get("more_body", False)


async def _receive_rest(received: "_Received", announced: int, admission: Admission) -> None:
    """Receive the rest of a body; in turn as soon as it is known to be large."""
    turn: Turn | None = None
    more = True
    try:
        while more:
            if turn is None and max(announced, received.size) > LARGE_BYTES:
                turn = await admission.turn()
            more = await received.more()
            if turn is not None:
                turn.received()
    finally:
        if turn is not None:
            turn.end()


class _Received:
    """The part of a body that has arrived."""

    def __init__(self, request: Request, limit: int) -> None:
        self.size = 0
        self._request = request
        self._limit = limit
        self._chunks: list[bytes] = []

    async def more(self) -> bool:
        """Wait for the next piece; return whether more pieces follow it.

        Raises:
            BodyTooLargeError, ClientLeftError
        """
        chunk, more = await next_chunk(self._request)
        self.size += len(chunk)
        self.check(self.size)
        self._chunks.append(chunk)
        return more

    def check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(
                f"The body is larger than the {self._limit / 2**20:g} MiB allowed. Send a smaller image."
            )

    def take(self) -> bytes:
        """Return the whole body and drop its pieces, so that memory holds it once."""
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)
