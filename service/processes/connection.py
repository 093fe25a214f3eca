"""One connection, bounded: what a client may send outside a counted body, for how long, and how far ahead.

uvicorn's own protocol stores heads and pipelined requests without a limit: one endless header stopped the event loop
for 14 s, twenty million tiny ones held 2.3 GB, and 18 MiB of requests whose answers nobody read held 1.5 GB.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import httptools

from service.api.ingest.body import COMPLETE_KEY
from service.api.middleware import given_id
from service.api.shedding import Shedding
from service.errors import FovealError, MalformedHttpError
from service.processes.answers import SHED, closing_answer, shed_answer
from service.processes.framing import Framing
from service.processes.half_closed import HalfClosed, can_be_known, has_ended
from service.processes.http_1_0 import answer_plainly
from service.processes.idle import IdleConnections
from service.processes.leaving import LeavingConnections
from service.processes.limits import Limits
from service.processes.named_host import require_host, with_path
from service.processes.other_protocols import framing_of, parser_behind
from service.processes.refusals import (
    head_too_large,
    head_too_late,
    not_http,
    refusal_of,
    too_many_connections,
)
from service.processes.rest_of_body import RestOfBody
from service.processes.transfer_coding import require_chunked
from service.processes.transport import PatientTransport
from service.processes.unread import UnreadAnswers
from service.processes.uvicorn_parts import (
    HIGH_WATER_LIMIT,
    FlowControl,
    HttpToolsProtocol,
    RequestResponseCycle,
)

Refuse = Callable[[FovealError], tuple[list[tuple[bytes, bytes]], bytes]]
"""Reports a refusal, and returns the headers and the body of its answer."""

SHED_SECONDS = 0.1
"""How long nothing is read from a client that sends again at once, whatever Retry-After says."""
AT_ONCE_SECONDS = 2 * SHED_SECONDS
"""A client that is refused twice within this time has done so."""


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

    Args:
        limits: what a client may send.
        refuse: makes the answer for what exceeds them.
        shedding: knows which requests are refused because their queue is full.
        unread: bounds what all connections hold of answers that are not read.
        leaving: those of all connections that end.
        idle: those that wait for a request.
        uvicorn_arguments: as `HttpToolsProtocol` takes them.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        refuse: Refuse,
        shedding: Shedding,
        unread: UnreadAnswers,
        leaving: LeavingConnections,
        idle: IdleConnections,
        **uvicorn_arguments: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**uvicorn_arguments)
        self._limits = limits
        self._refuse_with = refuse
        self._shedding = shedding
        self._unread = unread
        self._leaving = leaving
        self._idle = idle
        self._closes_with_body = False
        self.idle_since = self.loop.time()
        self._patient: PatientTransport
        self._answering: RequestResponseCycle | None = None
        """What the application works on, or did last; `cycle` is the last request that was parsed."""
        self._held = b""
        self._framing = Framing()
        self._head_at = 0.0  # when the last head ended
        self._shed_at = -math.inf  # when a request was refused last because its queue is full
        self._framing_behind = b""  # of the body whose head has asked for another protocol
        self._refused = False
        self._last_answer = b""  # to what was refused behind requests without an answer
        self._rest: RestOfBody
        self._half_closed: HalfClosed | None = None
        self._unread_end: HalfClosed | None = None  # looks for it while nothing is read
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self._has_room)
        self.transport = self._patient = PatientTransport(  # type: ignore[assignment]
            transport,
            self.loop,
            write_seconds=self._limits.write_seconds,
            still_sends=lambda: self._framing.in_body or bool(self._held),
            on_leave=self._leave,
        )
        self._rest = RestOfBody(self._patient, self.loop)
        self._patient.begin()
        if self._limits.connections and len(self.connections) > self._limits.connections:
            self._make_room()
        self._close_when_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._rest.end()
        self._patient.lost()
        self._unread.remove(self._patient)
        self._leaving.remove(self)
        self._idle.remove(self)
        if self._half_closed is not None:
            self._half_closed.end()
            self._half_closed = None
        self._stop_looking()
        self._unset_keepalive_if_required()
        self._held = b""
        self.pipeline.clear()
        if self._answering is not None:  # uvicorn tells only the last request
            self._answering.disconnected = True
            self._answering.message_event.set()
            self._answering.body = bytearray()
        if isinstance(self.cycle, RequestResponseCycle):
            self.cycle.body = bytearray()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self._patient.lingers:
            self._patient.drop(len(data))
        elif self._held:  # it was on its way when reading was paused
            self._held += data
        else:
            self._parse(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection of a client that may wait for its answer."""
        cycle = self.cycle
        waits = cycle is not None and not (cycle.response_complete or self._framing.in_body)
        if not waits or self._patient.lingers or self.scheme != "http" or not can_be_known():
            self._leave()  # over TLS what is written may still wait for the client
            return None
        if self._half_closed is None:
            passed = self.loop.time() - self._head_at
            self._half_closed = HalfClosed(self._patient.raw, self.loop, self._may_probe, passed)
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patient.pause()
        self._unread.add(self._patient)

    def resume_writing(self) -> None:
        if self._patient.resume():
            super().resume_writing()
            self._unread.remove(self._patient)

    def on_response_complete(self) -> None:
        if self._answering is not None and self._answering.body:
            self._answering.body = (
                bytearray()
            )  # what nobody has read; an idle connection would keep it
        if self.pipeline and not self.transport.is_closing():
            self._answering = self.pipeline[-1][0]  # uvicorn begins with it
        super().on_response_complete()
        self._begin_to_wait()
        if self._framing.in_body and not self.pipeline:
            self._rest.begin(self._framing.body_left)
        if self._held and not self.transport.is_closing():
            held, self._held = self._held, b""
            self._stop_looking()
            self.flow.resume_reading()
            self._parse(held)
        if self._last_answer and self.cycle.response_complete:
            self._write_last(self._last_answer)
        if self._half_closed is not None and self.cycle.response_complete:
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header without the blanks behind its value, which are none of it (RFC 9110, 5.5)."""
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        headers = self.headers
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:  # a line without one is HTTP/0.9 to the parser
            raise MalformedHttpError(f"HTTP/{version} is not understood. Send HTTP/1.1.")
        require_host(headers, self.url, must=version == "1.1")
        self.url = with_path(self.url)
        require_chunked(headers, version)
        if self._shedding.targets and self._is_shed(headers):
            self.cycle = SHED  # type: ignore[assignment]
        else:
            super().on_headers_complete()
            if not self.pipeline:
                self._answering = self.cycle
            if self.scope["http_version"] == "1.0":
                answer_plainly(self.cycle)
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._framing_behind = framing_of(headers)
        self.headers = []  # trailers come through the same callback, and are no headers
        self._head_at = self.loop.time()
        self._framing.head_ended(headers)

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self._framing.body_came(size)
        self._rest.came(size)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._framing_behind:  # the body is to come, though this parser does not read it
            return
        self._framing.body_ended()
        self._rest.end()
        if self._closes_with_body:
            self.transport.close()
        self.scope[COMPLETE_KEY] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def _is_shed(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Refuse a request whose queue is full, and of a client that sends at once read no further one for a while."""
        if not (self.cycle is None or self.cycle.response_complete) or self.pipeline:
            return False
        if self.parser.get_method() != b"POST":
            return False
        answer = self._shedding.refusal(self.url, given_id(headers), self.loop)
        if answer is None:
            return False
        keeps = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        self._closes_with_body = not keeps
        self.transport.write(shed_answer(self.server_state.default_headers, answer, keeps=keeps))
        now = self.loop.time()
        # To pause and to go on costs a tenth of a refusal, and a client that waits needs neither.
        if keeps and now - self._shed_at < AT_ONCE_SECONDS:
            self.flow.pause_reading()
            self.loop.call_later(SHED_SECONDS, self._read_again)
        self._shed_at = now
        return True

    def _read_again(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _has_room(self) -> bool:
        return not self._held and not (self.pipeline and len(self.cycle.body) > HIGH_WATER_LIMIT)

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        start, size = 0, len(data)
        while start < size and not (self._refused or self._patient.lingers):
            if len(self.pipeline) >= self._limits.waiting and not self._framing.in_body:
                self._stop_timer()
                self._held = data[start:]
                self.flow.pause_reading()
                self._look_for_end()
                return
            end = self._framing.end_of_slice(data, start)
            self._feed(data if end - start == size else memoryview(data)[start:end])
            start = end
        if not self._refused:
            self._watch()

    def _look_for_end(self) -> None:
        """See that a client has left though nothing is read from it."""
        if self._unread_end is None and self.scheme == "http" and can_be_known():
            raw = self._patient.raw
            self._unread_end = HalfClosed(
                raw, self.loop, lambda: has_ended(raw) and self._may_probe()
            )

    def _stop_looking(self) -> None:
        if self._unread_end is not None:
            self._unread_end.end()
            self._unread_end = None

    def _feed(self, data: bytes | memoryview) -> None:
        framing, most = self._framing, self._limits.head_bytes
        counted = framing.counts
        if counted:
            framing.outside += len(data)
            if not framing.in_body and framing.outside > most:
                self._refuse(head_too_large(most))
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._parse_on(data[stop.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(refusal_of(error))
        else:
            if counted and framing.outside > most:
                self._refuse(head_too_large(most))
            else:
                framing.keep_tail(data)

    def _parse_on(self, rest: bytes | memoryview) -> None:
        """Read what follows a head that asked for another protocol."""
        if self.parser.get_method() == b"CONNECT":
            self._end_after_answers()
            return
        framing, self._framing_behind = self._framing_behind, b""
        try:
            self.parser = parser_behind(framing, self)
        except httptools.HttpParserError as error:
            self._refuse(not_http(error))
            return
        if rest:
            self._feed(rest)

    def _watch(self) -> None:
        """Limit the time of what has begun: a head, or the silence after an answer."""
        if self._framing.outside and not self._framing.in_body:
            if self._timer is None:
                self._timer = self.loop.call_later(self._limits.head_seconds, self._on_late)
        elif self._timer is not None:
            self._stop_timer()
        if self.cycle is not None and self.cycle.response_complete:
            self._close_when_idle()
            if self._framing.in_body:
                self._rest.begin(self._framing.body_left)

    def _on_late(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # the rest may be there, and it is not the client that waits
            self._watch()
            return
        self._refuse(head_too_late(self._limits.head_seconds))

    def _may_probe(self) -> bool:
        now = self._answering
        return now is not None and not now.response_started and now.scope["http_version"] == "1.1"

    def _make_room(self) -> None:
        """Close a connection that nobody uses, or refuse this one; those that end take no place."""
        self._leaving.give_up_oldest()
        if len(self.connections) - len(self._leaving) <= self._limits.connections:
            return
        if not self._idle.close_oldest(self.loop.time()):
            self._refuse(too_many_connections(self._limits.connections))

    @property
    def waits(self) -> bool:
        """Whether it waits for a request of which no byte has come."""
        answered = self.cycle is None or self.cycle.response_complete
        waits = answered and not (self._framing.outside or self._framing.in_body or self._held)
        return waits and self not in self._leaving

    def close_idle(self) -> None:
        """Close it for another; nobody uses it."""
        self.transport.close()

    def _begin_to_wait(self) -> None:
        self.idle_since = self.loop.time()
        if not self.transport.is_closing():
            self._idle.add(self)

    def _leave(self) -> None:
        self._leaving.add(self, self._patient.raw.abort)

    def _close_when_idle(self) -> None:
        self._begin_to_wait()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: FovealError) -> None:
        """Answer what was sent last with an error, and close the connection; the answers before it are sent first."""
        headers, body = self._refuse_with(error)
        answer = closing_answer(error.status, [*self.server_state.default_headers, *headers], body)
        self._end()
        if self._framing.in_body and self.pipeline:  # its request has not begun
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._answering  # type: ignore[assignment]
            self._last_answer = answer
            return
        answered = self.cycle is None or self.cycle.response_complete
        if not (self._framing.in_body or answered):
            self._last_answer = answer
            return
        if self._framing.in_body:
            self.cycle.disconnected = True  # what works on the request sees that its client is gone
            self.cycle.message_event.set()
            if answered or self.cycle.response_started:
                self.transport.close()
                return
        self._write_last(answer)

    def _write_last(self, answer: bytes) -> None:
        self._last_answer = b""
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._patient.linger()

    def _end_after_answers(self) -> None:
        self._end()
        self.cycle.keep_alive = False

    def _end(self) -> None:
        self._refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
