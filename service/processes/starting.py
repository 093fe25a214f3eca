"""What is answered on the socket while the models are fetched, before there is a service."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.api.errors import PROBLEM_TYPE
from service.media_types import JSON

RETRY_SECONDS = 5
POLL_SECONDS = 0.1
"""The wait for the next connection looks so often whether it shall end."""
MOST_BODY_BYTES = 1 << 20
"""So much of a body is read before the answer."""
_MOST_DIGITS = 18
"""Of a length; Python reads no number of more than 4,300, and no body is so long."""
MOST_CONNECTIONS = 64
"""That are open at once, each with a thread; probes and scrapes need few."""
PATIENCE_SECONDS = 5.0
"""How long a connection may say nothing."""


@contextmanager
def answers_while_starting(listener: socket.socket, reason: str) -> Iterator[None]:
    """Answer on a socket for the length of the block: the process is alive, and not ready because of `reason`.

    Everything else gets 503. Connections that come at the end wait for who accepts next.

    Args:
        listener: it listens, without TLS; other processes may accept on it too.
        reason: why nothing is served yet.
    """
    listener.settimeout(0)  # another process may have been faster
    server = _Server(listener.getsockname()[:2], _Answer, bind_and_activate=False)
    server.socket.close()
    server.socket = listener.dup()
    server.reason = reason
    thread = threading.Thread(
        target=server.serve_forever, args=(POLL_SECONDS,), name="foveal-starting", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    reason = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # http.server's
        super().__init__(*arguments, **options)
        self._open: dict[socket.socket, None] = {}
        """In the order in which they came."""
        self._changing = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer on a thread. Where as many are open as may be, the oldest ends: a probe is answered all the same."""
        with self._changing:
            if len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):  # the client has left
                    oldest.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        with self._changing:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that leaves before its answer is no fault."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE_SECONDS
    server_version = "foveal"
    sys_version = ""

    def do_GET(self) -> None:
        length = self.headers.get("Content-Length", "")
        # A connection that closes with bytes unread is reset, and the answer lost.
        if length.isdecimal():
            self.rfile.read(min(int(length[:_MOST_DIGITS]), MOST_BODY_BYTES))
        path = self.path.partition("?")[0]
        if path == "/health/live":
            self._send(200, JSON, {"status": "alive"})
        elif path == "/health/ready":
            self._send(503, JSON, {"status": "not ready", "reasons": [self.server.reason]})
        else:
            detail = f"Nothing is served yet: {self.server.reason}."
            self._send(
                503,
                PROBLEM_TYPE,
                {"title": "Not ready", "status": 503, "code": "not_ready", "detail": detail},
            )

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET  # noqa: N815  # names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """The service's log has requests that it served."""

    def _send(self, status: int, media_type: str, content: dict[str, object]) -> None:
        body = json.dumps(content, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status != 200:
            self.send_header("Retry-After", str(RETRY_SECONDS))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
