"""uvicorn, with the shutdown that an orchestrator expects: not ready, closed to new connections, drained, exit 0."""

import asyncio
import contextlib
import errno
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from types import FrameType

import uvicorn

from service.api.errors import problem
from service.api.middleware import NO_SNIFFING, Telemetry
from service.api.record import UNMATCHED, request_ids
from service.errors import ConfigurationError, FovealError
from service.logs import FIELDS, LOGGER, REQUEST_LOGGER
from service.processes.connection import Connection
from service.processes.connection_counts import ConnectionCounts
from service.processes.end_log import EndLog
from service.processes.idle import SPARED_SECONDS, IdleConnections
from service.processes.last_connections import accept_all, no_more_to_come
from service.processes.leaving import MOST_LEAVING, LeavingConnections
from service.processes.limits import Limits
from service.processes.tls import Tls
from service.processes.trusted_proxies import Network, forms_of
from service.processes.unread import UnreadAnswers
from service.processes.uvicorn_parts import (
    RequestResponseCycle,
    close_listeners,
    has_request,
    make_protocol,
    open_connections,
    unanswered_in,
)

log = logging.getLogger(LOGGER)
request_log = logging.getLogger(REQUEST_LOGGER)

BACKLOG = 65_535
"""The system makes less of it: 4,096 connections that wait on most Linux systems (net.core.somaxconn)."""
FIRST_REQUEST_SECONDS = 1.0
"""How long a connection that was just accepted may take to send its request once the socket is closed."""
ACCEPT_PAUSE_SECONDS = 0.05
"""How long nothing is accepted where no file descriptor is left and no connection can be closed for another."""
FULL_TABLE_SECONDS = 60.0
"""So long after the last connection that had no file descriptor, the next one is logged again."""
HOLD_BACK_SECONDS = 0.005
"""How long a connection is left to a process that has fewer."""
INTERRUPTS_TO_FORCE = 3
MOST_ACCEPTED = 32
"""Connections that are accepted in one step of the event loop."""
MOST_BEYOND = MOST_LEAVING + 16
"""Connections that are open beside as many as may be: those that end, and those that have just been accepted."""

GOODBYE_SECONDS = 5.0
"""How long a TLS connection that is closed waits for its client to read the last 64 KiB and close it too."""


class Server(uvicorn.Server):
    """Serves one app on one socket.

    On SIGTERM readiness fails at once. Requests are answered for `grace_seconds` more, with `Connection: close`. Then
    the socket is closed, accepted requests are answered, and the process exits with 0. SIGHUP, which a terminal sends
    when it is closed, does the same; where it is ignored, as under nohup, it stays so. SIGINT skips the grace. The
    second SIGINT only says what is waited for, because one Ctrl+C often arrives twice: from the terminal and from the
    program that started this one. The third ends the process without the rest of the answers.

    On a socket that several processes share, a connection is left to the process with the fewest by `counts`. Without
    that, one of two processes was seen to take 16 clients out of 16.

    Args:
        app: the service.
        grace_seconds: from SIGTERM until the socket is closed.
        drain_seconds: how long accepted requests may take after that.
        counts: the connections of all processes; None where this is the only one.
        waits: whether connections are left to the other processes until `begin` is called; only with `counts`.
        beside: entered on the event loop before the app starts, and left after the app has ended.
        limits: what a connection may send outside the bodies of its requests.
        on_end: called when a signal ends the service, also in the signal handler.
        end_log: says in the log how the process ends.
        tls: the certificate; None for plain HTTP.
        trusted_proxies: networks whose forwarded headers are believed.

    Raises:
        ConfigurationError: the certificate can not be used.
    """

    def __init__(
        self,
        app: Telemetry,
        *,
        grace_seconds: float,
        drain_seconds: float,
        counts: ConnectionCounts | None = None,
        waits: bool = False,
        beside: AbstractAsyncContextManager[None] | None = None,
        limits: Limits | None = None,
        on_end: Callable[[], None] | None = None,
        end_log: EndLog | None = None,
        tls: Tls | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        limits = limits or Limits()
        self._leaving = LeavingConnections()
        self._idle = IdleConnections()
        protocol = partial(
            Connection,
            limits=limits,
            refuse=self._refuse,
            shedding=app.services.shedding,
            unread=UnreadAnswers(app.services.engine.answer_bytes),
            leaving=self._leaving,
            idle=self._idle,
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,  # type: ignore[arg-type]  # called as the class that uvicorn expects
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(forms_of(trusted_proxies)),
                **({} if tls is None else tls.uvicorn_options()),
                backlog=BACKLOG,
                timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # it may be a fraction
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )
        self._services = app.services
        self._handshake_seconds = limits.head_seconds
        # Without TLS a connection has arrived at once, and `Connection` answers one too many.
        self._most_handshakes = 0 if tls is None else limits.connections
        self._most_open = limits.connections + MOST_BEYOND if limits.connections else 0
        self._on_end = on_end or (lambda: None)
        self._end_log = end_log or EndLog()
        self._late: list[RequestResponseCycle] = []
        self._grace_seconds = grace_seconds
        self._counts = counts
        self._waits = waits
        self._listeners: list[socket.socket] = []
        self._beside = beside or nullcontext()
        # Connections whose handshake has not ended, the oldest first, and since when they are there.
        self._arriving: dict[asyncio.Task[object], float] = {}
        self._given_up: set[asyncio.Task[object]] = set()
        self._table_full_at = -math.inf  # when no file descriptor was left last
        self._interrupts = 0
        self._leaves = False
        self._ids = request_ids()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._beside:
            with _hangup_calls(self.handle_exit):
                await super().serve(sockets)
        self._end_log.ended(sum(not one.response_complete for one in self._late))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Runs as a signal handler. It does not store the signal, or uvicorn would raise it again and exit non-zero."""
        self._interrupts += sig == signal.SIGINT
        if self.should_exit:
            self.force_exit = self._interrupts >= INTERRUPTS_TO_FORCE
            if sig == signal.SIGINT and not self.force_exit and self._loop is not None:
                self._loop.call_soon_threadsafe(self._tell_what_is_waited_for)
            return
        self._on_end()
        already_draining = self._services.draining
        self._services.draining = True
        grace_seconds = 0.0 if sig == signal.SIGINT else self._grace_seconds
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_log.signaled, sig, grace_seconds)
        if (
            already_draining
            or sig == signal.SIGINT
            or not self._grace_seconds
            or self._loop is None
        ):
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._grace_seconds, self._end)

    def leave(self) -> None:
        """End this process alone, as for SIGTERM: others share the socket, and accept what waits there."""
        self._leaves = True
        self.handle_exit(signal.SIGTERM, None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self._listeners = sockets or []
        for listener in self._listeners:
            listener.settimeout(0)
        if self._waits and self._counts is not None:
            self._counts.vacate()
        else:
            self._accept()

    def begin(self) -> None:
        """Accept connections from now on; called on the event loop."""
        if self._waits:
            self._waits = False
            self._accept()

    def _accept(self) -> None:
        for listener in self._listeners:
            self._accept_from(listener)

    def _accept_from(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._on_acceptable, listener)

    def _on_acceptable(self, listener: socket.socket) -> None:
        if self._counts is None:
            for _ in range(MOST_ACCEPTED):
                if not self._accept_one(listener):
                    break
            return
        if self._has_fewest():
            self._accept_one(listener)
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(HOLD_BACK_SECONDS, self._accept_left_over, listener)

    def _has_fewest(self) -> bool:
        assert self._counts is not None
        return self._counts.has_fewest(len(open_connections(self)) + len(self._arriving))

    def _is_full(self) -> bool:
        """Whether the files that are kept for connections are taken, also by those that have not begun or end."""
        taken = len(open_connections(self)) + len(self._arriving) + len(self._given_up)
        return 0 < self._most_open <= taken

    def _accept_left_over(self, listener: socket.socket) -> None:
        """Accept a connection that the process with the fewest is too busy to accept."""
        if not self.should_exit:
            self._accept_from(listener)
            self._accept_one(listener)

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept a connection, if there is one and its place will not be free a moment later; return whether so."""
        if (is_full := self._is_full()) and self._makes_room():
            return False
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process accepted it
            return False
        except OSError as error:  # no file descriptor is left
            self._wait_for_file(listener, error)
            return False
        crowded = 0 < self._most_handshakes <= len(self._arriving)
        if is_full or (crowded and not self._gave_up_oldest()):
            connection.close()
            return True
        task: asyncio.Task[object] = loop.create_task(self._serve_connection(connection))
        self._arriving[task] = loop.time()
        task.add_done_callback(self._forget_arriving)
        return True

    def _makes_room(self) -> bool:
        """Have a connection closed that nobody needs; return whether one is about to be.

        Without TLS what was accepted is a connection in the next step, and makes room for itself.
        """
        if self._given_up or (self._arriving and not self._most_handshakes):
            return True
        if self._arriving and self._gave_up_oldest():
            return True
        now = asyncio.get_running_loop().time()
        return self._leaving.give_up_one() or self._idle.close_oldest(now)

    def _gave_up_oldest(self) -> bool:
        """Close the connection that has not ended its handshake for longest, unless it was opened just now."""
        oldest, since = next(iter(self._arriving.items()))
        if asyncio.get_running_loop().time() - since < SPARED_SECONDS:
            return False
        self._forget_arriving(oldest)
        self._given_up.add(oldest)
        oldest.add_done_callback(self._given_up.discard)
        oldest.cancel()
        return True

    def _forget_arriving(self, task: asyncio.Task[object]) -> None:
        self._arriving.pop(task, None)

    def _wait_for_file(self, listener: socket.socket, error: OSError) -> None:
        """Have another closed where nobody needs it, or else try again a little later; the log says it once."""
        self._services.metrics.accept_errors.inc()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._table_full_at > FULL_TABLE_SECONDS:
            log.error(
                "Can not accept connections: %s. They wait until others are closed; allow more with ulimit -n.",
                error.strerror,
            )
        self._table_full_at = now
        if error.errno == errno.EMFILE and self._makes_room():
            return
        loop.remove_reader(listener)
        loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_from, listener)

    async def _serve_connection(self, connection: socket.socket) -> None:
        context = self.config.ssl
        seconds = None if context is None else self._handshake_seconds
        goodbye_seconds = None if context is None else GOODBYE_SECONDS
        with contextlib.suppress(OSError):  # the client has closed it, or speaks no TLS
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: make_protocol(self),
                connection,
                ssl=context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=goodbye_seconds,
            )

    async def on_tick(self, counter: int) -> bool:
        if self._counts is not None:
            self._has_fewest()  # for what it writes: connections have also ended
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket first and the connections later, so that every accepted request is answered."""
        listeners = sockets or []
        pending: list[socket.socket] = []
        if not self._leaves:
            await no_more_to_come(listeners)
            pending = [one for listener in listeners for one in accept_all(listener)]
        close_listeners(self)
        for listener in listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        await asyncio.gather(*self._arriving, *(self._serve_connection(one) for one in pending))
        await self._receive_first_requests()
        self._end_log.closed(len(self.server_state.tasks))
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        finally:  # it was too late, or the third Ctrl+C came; what is canceled now may still be answered
            self._late = unanswered_in(self)

    async def _receive_first_requests(self) -> None:
        """Wait for requests that are on their way: uvicorn closes connections without a parsed request and loses it."""
        latest = time.monotonic() + FIRST_REQUEST_SECONDS
        while time.monotonic() < latest:
            if all(has_request(one) for one in open_connections(self)):
                return
            await asyncio.sleep(0.01)  # uvicorn has no event to wait for

    def _refuse(self, error: FovealError) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Count and log what is refused before it is a request, and return its answer."""
        request_id = next(self._ids)
        metrics = self._services.metrics
        metrics.requests.labels(UNMATCHED, "", "", str(error.status)).inc()
        metrics.errors.labels(UNMATCHED, error.code).inc()
        fields = {"request_id": request_id, "code": error.code}
        request_log.info("no request %d", error.status, extra={FIELDS: fields})
        answer = problem(error, request_id)
        headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), NO_SNIFFING]
        return headers, bytes(answer.body)

    def _tell_what_is_waited_for(self) -> None:
        """Outside the signal handler, because a line of the log may be half written when it runs."""
        log.warning(
            "%d requests are not answered yet; one more Ctrl+C ends without their answers",
            len(self.server_state.tasks),
        )

    def _end(self) -> None:
        self.should_exit = True


@contextlib.contextmanager
def _hangup_calls(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGHUP where this system has it, this thread may, and nobody ignores it."""
    number = getattr(signal, "SIGHUP", None)
    if (
        number is None
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(number) is signal.SIG_IGN
    ):
        yield
        return
    former = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, former)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. It is opened before anything slow is done, so that a taken port is known at once.

    `::` is every address of IPv4 as well, where the system can do so.

    Raises:
        ConfigurationError: the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there"
        elif error.errno is None:
            reason = str(error)
        else:
            reason = os.strerror(error.errno)
        raise ConfigurationError(
            f"Can not listen on {host}:{port}: {reason}. Choose another with --port or FOVEAL_PORT."
        ) from error


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the URL at which a browser on this machine finds the service."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
