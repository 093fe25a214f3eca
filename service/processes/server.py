"""uvicorn, ended the way an orchestrator expects: not ready first, then closed, then drained, then exit 0."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn

from service.api.middleware import Telemetry
from service.errors import ConfigurationError
from service.logs import LOGGER
from service.processes.peers import Tally

log = logging.getLogger(LOGGER)

BACKLOG = 2048
NEWCOMER_SECONDS = 1.0
"""How long a connection that was just accepted may take to send its request once the socket is closed."""
ACCEPT_PAUSE_SECONDS = 1.0
HOLD_BACK_SECONDS = 0.005
"""How long a connection is left to a process that has fewer."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time of common proxies, so that they close connections and not we."""


class Server(uvicorn.Server):
    """Serves one app on one socket.

    SIGTERM: readiness fails at once, requests are answered on for `grace_seconds` and told to close
    their connections, then the socket closes, what was accepted is finished, and the process exits
    with 0. SIGINT skips the grace; a second one skips the rest.

    On a socket shared with others a connection is left to whoever has fewest by the `tally`: else one of two processes
    was seen to take 16 clients out of 16.
    """

    def __init__(
        self,
        app: Telemetry,
        *,
        grace_seconds: float,
        drain_seconds: float,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )
        self._services = app.services
        self._grace_seconds = grace_seconds
        self._tally = tally
        self._arriving: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Runs as a signal handler; signals are not kept, or uvicorn would raise them again and exit non-zero."""
        if self.should_exit:
            self.force_exit = sig == signal.SIGINT
            return
        already_draining = self._services.draining
        self._services.draining = True
        if (
            already_draining
            or sig == signal.SIGINT
            or not self._grace_seconds
            or self._loop is None
        ):
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._grace_seconds, self._end)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tally is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listener in sockets or []:
            listener.settimeout(0)
            self._accept_from(listener)

    def _accept_from(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._on_waiting, listener)

    def _on_waiting(self, listener: socket.socket) -> None:
        assert self._tally is not None
        if self._tally.has_fewest(len(self.server_state.connections) + len(self._arriving)):
            self._accept_one(listener)
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(HOLD_BACK_SECONDS, self._accept_left_over, listener)

    def _accept_left_over(self, listener: socket.socket) -> None:
        """Whoever should have taken it is busy."""
        if not self.should_exit:
            self._accept_from(listener)
            self._accept_one(listener)

    def _accept_one(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was sooner
            return
        except OSError as error:  # no descriptors left: all would be woken for ever
            log.error("can not accept: %s", error)
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_from, listener)
            return
        task: asyncio.Task[object] = loop.create_task(self._let_in(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _let_in(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # its client has left
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, connection
            )

    async def on_tick(self, counter: int) -> bool:
        if self._tally is not None:  # connections also end
            self._tally.has_fewest(len(self.server_state.connections) + len(self._arriving))
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket first and the connections later, so that who was let in is also heard."""
        waiting = [one for listener in sockets or [] for one in _accept_all(listener)]
        for server in self.servers:
            server.close()
        if self._tally is not None:
            for listener in sockets or []:
                asyncio.get_running_loop().remove_reader(listener)
                listener.close()
        await asyncio.gather(*self._arriving, *(self._let_in(one) for one in waiting))
        await self._hear_newcomers()
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _hear_newcomers(self) -> None:
        """Uvicorn would close a connection whose request it has not parsed yet, and lose it."""
        patience = time.monotonic() + NEWCOMER_SECONDS
        while time.monotonic() < patience:
            if all(getattr(one, "cycle", None) for one in self.server_state.connections):
                return
            await asyncio.sleep(0.01)  # uvicorn offers nothing to wait on

    def _end(self) -> None:
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, taken before anything slow is done.

    Raises:
        ConfigurationError: the address can not be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"Can not listen on {host}:{port}: {error.strerror or error}. Choose another with --port or FOVEAL_PORT."
        ) from error


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that the kernel has completed and the event loop has not seen: closing would reset them."""
    listener.settimeout(0)
    listener.listen(0)  # from now on the kernel completes no more than one that is not accepted
    with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
        while True:
            yield listener.accept()[0]


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a browser on this machine finds the service."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
