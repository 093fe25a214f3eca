"""uvicorn, ended the way an orchestrator expects: not ready first, then closed, then drained, then exit 0."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn

from service.api.middleware import Telemetry
from service.errors import ConfigurationError

BACKLOG = 2048
NEWCOMER_SECONDS = 1.0
"""How long a connection that was just accepted may take to send its request once the socket is closed."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time of common proxies, so that they close connections and not we."""


class Server(uvicorn.Server):
    """Serves one app on one socket.

    SIGTERM: readiness fails at once, requests are answered on for `grace_seconds` and told to close
    their connections, then the socket closes, what was accepted is finished, and the process exits
    with 0. SIGINT skips the grace; a second one skips the rest.
    """

    def __init__(self, app: Telemetry, *, grace_seconds: float, drain_seconds: float) -> None:
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket first and the connections later, so that who was let in is also heard."""
        waiting = [one for listener in sockets or [] for one in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            with contextlib.suppress(OSError):  # its client has left
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._make_protocol, connection
                )
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
