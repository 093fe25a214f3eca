"""A request's whole body: within its size limit, before its deadline, in turn where it is large, and inflated."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

from fastapi import Request

from service.api.deadline import Deadline
from service.api.ingest.admission import Admission, Turn
from service.api.ingest.arriving import ArrivingBodies, ArrivingBody
from service.api.ingest.encoding import Inflater, content_coding, next_piece
from service.api.ingest.joined import JoinedPieces
from service.api.ingest.json_start import may_begin_json
from service.api.ingest.multipart import is_form
from service.api.record import RequestRecord, announced_bytes, header_of
from service.body_memory import LEAVE_SECONDS, BodyMemory, BodyPlace
from service.errors import BodyTooLargeError, ClientLeftError, DeadlineError

LARGE_BYTES = 256 * 1024
"""Larger bodies are received in turn, and parsed on a thread, so that the event loop can serve other requests."""
EAGER_BYTES = 64 * 1024
"""So much of a large body is received before it waits for a turn: one that is only announced takes no place."""
COPIES = 3
"""What JSON and forms hold at most while they are read, in sizes of the body: the body, its strings or pieces, and what
they stand for."""
COMPLETE_KEY = "foveal.body_complete"
"""The key in an ASGI scope under which a server may say that the whole body has arrived."""


class BodyLimits(Protocol):
    """What bounds the bodies of requests with images."""

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_images(self) -> int: ...
    @property
    def max_form_fields(self) -> int: ...
    @property
    def max_json_depth(self) -> int: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def arriving(self) -> ArrivingBodies: ...


async def read_body(
    request: Request, limits: BodyLimits, record: RequestRecord, *, held: bool = True
) -> bytes:
    """Return the whole body, inflated where it is compressed.

    Args:
        request: its body must not have been read.
        limits: the largest size, before and after it is inflated, the admission of large bodies, and what unfinished
            ones may hold together.
        record: has the deadline; gets the body's size as it was sent.
        held: whether a large body counts as held until the response starts, so that other bodies wait.

    Raises:
        BodyTooLargeError: it is larger than `max_body_bytes`, by its announced size or as soon as so much has arrived.
        ClientLeftError: the client closed its connection before the body's end.
        DeadlineError: the body did not arrive before the request's deadline.
        OverloadedError: too many large bodies wait to be received, or unfinished ones hold too much and this one most.
        InvalidParameterError: the deadline that the client sent is not valid.
        UnsupportedEncodingError, MalformedEncodingError: it is compressed in a way that is not understood, or is not
            compressed as its header says.
    """
    deadline = record.deadline
    announced = announced_bytes(request) or 0
    coding, memory = content_coding(request), limits.arriving.memory
    received = _Received(request, limits.max_body_bytes, coding, memory)
    received.check(announced)
    # A small body has usually arrived by now. A timer for it would cost LeNet-5 2.5 % of its throughput.
    if COMPLETE_KEY not in request.scope or await received.more():
        record.place = memory.place()
        record.release_with_response(closing(record.place))
        await _receive_in_time(received, announced, limits, record.place, deadline)
    record.body_bytes = received.sent
    record.received()
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


async def _receive_in_time(
    received: "_Received",
    announced: int,
    limits: BodyLimits,
    place: BodyPlace,
    deadline: Deadline,
) -> None:
    """Receive the rest of a body before the deadline, unless it has to give way to others."""
    with limits.arriving.counted(place) as body:
        body.add(received.size)
        try:
            async with deadline.limit(deadline.body_late) as timeout:
                end_now = asyncio.get_running_loop().time()
                body.on_give_way = lambda: timeout.reschedule(end_now)
                await _receive_rest(received, announced, limits.admission, body, place)
        except DeadlineError:
            if body.gave_way:
                raise body.error() from None
            raise


async def _receive_rest(
    received: "_Received",
    announced: int,
    admission: Admission,
    body: ArrivingBody,
    place: BodyPlace,
) -> None:
    """Receive the rest of a body; in turn as soon as it is known to be large and has begun to come.

    It takes the memory for all of it before its turn, and leaves it to others soon after that has ended with a pause.
    """
    loop, leaving = asyncio.get_running_loop(), list[asyncio.TimerHandle]()

    def leave_soon() -> None:
        leaving.append(loop.call_later(LEAVE_SECONDS, lambda: place.leave(received.size)))

    turn: Turn | None = None
    more = True
    try:
        while more:
            large = max(announced, received.size) > LARGE_BYTES
            if turn is None and large and max(received.sent, received.size) >= EAGER_BYTES:
                await place.take(received.needed(announced))
                turn = await admission.turn()
                turn.on_end = leave_soon
            before = received.size
            more = await received.more()
            body.add(received.size - before)
            if turn is not None:
                turn.received()
        if received.size > LARGE_BYTES:
            await place.take(received.size * received.copies)
    finally:
        if turn is not None:
            turn.end()
        for one in leaving:
            one.cancel()


class _Received:
    """The part of a body that has arrived: `sent` bytes, which are `size` bytes once inflated."""

    def __init__(
        self, request: Request, limit: int, coding: str | None, memory: BodyMemory
    ) -> None:
        self.sent = 0
        self.copies = COPIES if is_form(header_of(request, b"content-type") or "") else 1
        self._memory = memory
        self._request = request
        self._limit = limit
        self._inflater = Inflater(coding, limit) if coding else None
        self._joined = JoinedPieces(0 if coding else announced_bytes(request) or 0)
        self._pieces: Iterator[bytes] | None = None
        self._arrives = True

    @property
    def size(self) -> int:
        return self._joined.size

    async def more(self) -> bool:
        """Wait for the next piece; return whether more pieces follow it.

        Raises:
            BodyTooLargeError, ClientLeftError, MalformedEncodingError
        """
        if self._pieces is not None:
            return await self._inflate_more(self._pieces)
        chunk, more = await next_chunk(self._request)
        self.sent += len(chunk)
        self.check(self.sent)
        if self._inflater is not None:
            self._pieces, self._arrives = self._inflater.pieces(chunk), more
            return True
        self._add(chunk)
        return more

    async def _inflate_more(self, pieces: Iterator[bytes]) -> bool:
        """Take one piece of a compressed chunk, so that a body of few chunks also waits for its turn."""
        piece = await next_piece(pieces)
        if piece is not None:
            self._add(piece)
            return True
        self._pieces = None
        if not self._arrives and self._inflater is not None:
            self._inflater.end()
        return self._arrives

    def _add(self, piece: bytes) -> None:
        if not self.size and may_begin_json(piece):
            self.copies = COPIES
        self._joined.add(piece)
        if self._joined.are_joined:
            self._memory.require(self.size, self.copies)

    def needed(self, announced: int) -> int:
        """Return what it takes to receive and to read it; where its size is not announced, what the largest one takes.

        Raises:
            BodyTooLargeError: that never fits.
        """
        if announced and self._inflater is None:
            self._memory.require(announced, self.copies)
            return max(announced, self.size) * self.copies
        most = self._limit * self.copies
        return most if self._memory.limit is None else min(most, self._memory.limit)

    def check(self, size: int) -> None:
        self._memory.require(size, 1)
        if size > self._limit:
            raise BodyTooLargeError(
                f"The body is larger than the {self._limit / 2**20:g} MiB allowed. Send a smaller image."
            )

    def take(self) -> bytes:
        """Return the whole body and drop its pieces, so that memory holds it once."""
        return self._joined.take()
