"""One connection, bounded: what a client may send outside a counted body, for how long, and how far ahead.

uvicorn's own protocol stores heads and pipelined requests without a limit: one endless header stopped the event loop
for 14 s, twenty million tiny ones held 2.3 GB, and 18 MiB of requests whose answers nobody read held 1.5 GB.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools

from service.api.ingest.body import COMPLETE_KEY
from service.errors import (
    FovealError,
    HeadTimeoutError,
    HeadTooLargeError,
    MalformedHttpError,
)
from service.processes.uvicorn_parts import (
    HIGH_WATER_LIMIT,
    FlowControl,
    HttpToolsProtocol,
)

Refuse = Callable[[FovealError], tuple[list[tuple[bytes, bytes]], bytes]]
"""Reports a refusal, and returns the headers and the body of its answer."""

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
MOST_WAITING = 4
SLICE_BYTES = 4096
"""How much is parsed at once where the end of the request is not known."""
LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
"""How long and how much is received after a refusal. Closed at once, the connection would be reset, and a client that
still sends would not see its answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send outside a body.

    Attributes:
        head_bytes: of a head, and of all that frames a body beyond its own length: chunk sizes, extensions, trailers.
        head_seconds: from the first byte of a head to its last.
        waiting: requests that wait for the answer before theirs; no more is read meanwhile.
    """

    head_bytes: int = HEAD_BYTES
    head_seconds: float = HEAD_SECONDS
    waiting: int = MOST_WAITING


class Flow(FlowControl):
    """Reads again only where the connection has room; uvicorn resumes with each answer and each wait for a body."""

    def __init__(self, transport: asyncio.Transport, has_room: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_room = has_room

    def resume_reading(self) -> None:
        if self._has_room():
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol behind limits.

    Data is parsed in slices that hold the end of one head at most, so that the bytes of a head are counted exactly and
    no request is parsed before it may wait.

    Args:
        limits: what a client may send.
        refuse: makes the answer for what exceeds them.
        uvicorn_arguments: as `HttpToolsProtocol` takes them.
    """

    def __init__(self, *, limits: Limits, refuse: Refuse, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**uvicorn_arguments)
        self._limits = limits
        self._refuse_with = refuse
        self._held = b""
        self._in_body = False
        self._body_left: int | None = None  # None: its length is not announced
        self._outside = (
            0  # bytes of this head, or in a body without a length those that are no body
        )
        self._refused = False
        self._drained = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self._has_room)
        self._close_when_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._drained += len(data)
            if self._drained > LINGER_BYTES:
                self.transport.close()
        elif self._held:  # it was on its way when reading was paused
            self._held += data
        else:
            self._parse(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._held and not self.transport.is_closing():
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self._parse(held)

    def on_headers_complete(self) -> None:
        headers = self.headers
        super().on_headers_complete()
        self.headers = []  # trailers come through the same callback, and are no headers
        self._in_body, self._outside = True, 0
        self._body_left = _announced_length(headers)

    def on_body(self, body: bytes) -> None:
        if self._body_left is None:
            # The frame of a chunk may be as long as the chunk; only what it is longer is counted.
            self._outside = max(0, self._outside - 2 * len(body))
        else:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._outside = False, 0
        self.scope[COMPLETE_KEY] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def _has_room(self) -> bool:
        return not self._held and not (self.pipeline and len(self.cycle.body) > HIGH_WATER_LIMIT)

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        start, size = 0, len(data)
        while start < size and not self._refused:
            if len(self.pipeline) >= self._limits.waiting and not self._in_body:
                self._stop_timer()
                self._held = data[start:]
                self.flow.pause_reading()
                return
            end = self._end_of_slice(data, start)
            self._feed(data if end - start == size else memoryview(data)[start:end])
            start = end
        if not self._refused:
            self._watch()

    def _end_of_slice(self, data: bytes, start: int) -> int:
        """Return where to stop: behind the head or the body, or soon where that end is not here or not known."""
        if not self._in_body:
            found = data.find(b"\r\n\r\n", start, start + SLICE_BYTES)
            if found >= 0:
                return found + 4
        elif self._body_left is not None:
            return min(len(data), start + self._body_left)
        return min(len(data), start + SLICE_BYTES)

    def _feed(self, data: bytes | memoryview) -> None:
        counted = not self._in_body or self._body_left is None
        if counted:
            self._outside += len(data)
            if not self._in_body and self._outside > self._limits.head_bytes:
                self._refuse_head()
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no other protocol is spoken here
            self._end_after_answers()
        except httptools.HttpParserError as error:
            self._refuse(MalformedHttpError(_told(error)))
        else:
            if counted and self._outside > self._limits.head_bytes:
                self._refuse_head()

    def _watch(self) -> None:
        """Limit the time of what has begun: a head, or the silence after an answer."""
        if self._outside and not self._in_body:
            if self._timer is None:
                self._timer = self.loop.call_later(self._limits.head_seconds, self._on_late)
        elif self._timer is not None:
            self._stop_timer()
        if self.cycle is not None and self.cycle.response_complete:
            self._close_when_idle()

    def _on_late(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # the rest may be there, and it is not the client that waits
            self._watch()
            return
        limit = self._limits.head_seconds
        self._refuse(
            HeadTimeoutError(
                f"The head of the request did not end within {limit:g} s of its first byte. Send it at once."
            )
        )

    def _close_when_idle(self) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_head(self) -> None:
        limit = self._limits.head_bytes
        self._refuse(
            HeadTooLargeError(
                f"The request line and the headers, or the frame of a chunked body, have more than {limit} bytes. "
                "Send fewer or shorter headers."
            )
        )

    def _refuse(self, error: FovealError) -> None:
        """Answer what was sent last with an error, and close the connection; the answers before it are sent first."""
        headers, body = self._refuse_with(error)
        answered = self.cycle is None or self.cycle.response_complete
        if not self._in_body and not answered:
            self._end_after_answers()
            return
        self._end()
        if self._in_body:
            self.cycle.disconnected = True  # what works on the request sees that its client is gone
            self.cycle.message_event.set()
            if answered or self.cycle.response_started or self.pipeline:
                self.transport.close()
                return
        self._write(error.status, headers, body)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _end_after_answers(self) -> None:
        self._end()
        self.cycle.keep_alive = False

    def _end(self) -> None:
        self._refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        fields = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(line + head + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _announced_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the body's length; None for a chunked body, whose headers the parser has checked for both."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def _told(error: httptools.HttpParserError) -> str:
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
    return f"The bytes are not an HTTP/1.1 request{reason}. Send plain HTTP/1.1 to this port."
