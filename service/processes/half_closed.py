"""A client that has ended its side of a connection may wait for its answer, or may be gone: TCP does not say which.

A client that is gone answers anything that it gets with a reset. So after a while it gets the interim answer 100, which
every HTTP/1.1 client skips (RFC 9110, 15.2), and the state of the connection says what came of it.
"""

import asyncio
import socket
from collections.abc import Callable

FIRST_SECONDS = 0.25
"""After the request. Before it, most answers are ready, and nothing is sent."""
CHECK_SECONDS = 0.01
"""After the interim answer; then twice as long each time."""
MOST_CHECK_SECONDS = 2.0
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_TCP_CLOSE = 7
"""The state of a connection that was reset (Linux, tcp_states.h)."""
_TCP_CLOSE_WAIT = 8
"""The state of one whose other side was ended."""


def can_be_known() -> bool:
    """Return whether this system says what became of a connection."""
    return _TCP_INFO is not None


def has_ended(transport: asyncio.Transport) -> bool:
    """Return whether the client has ended its side, also where nothing is read from it."""
    return _state_of(transport) == _TCP_CLOSE_WAIT


def _state_of(transport: asyncio.Transport) -> int | None:
    connection = transport.get_extra_info("socket")
    assert _TCP_INFO is not None
    try:
        return int(connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0])
    except OSError:  # no TCP: a socket of this machine
        return None


class HalfClosed:
    """Finds out whether a client that ended its side is gone.

    Args:
        transport: of the connection; it is aborted when the client is gone.
        loop: its event loop.
        may_probe: whether an interim answer can be sent now, between two answers.
        passed_seconds: since the request came. Of a large body that has waited for its turn, the end is read late, and
            at once it is decoded: a line of clients that are gone must not take the time of the others.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        may_probe: Callable[[], bool],
        passed_seconds: float = 0.0,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._may_probe = may_probe
        self._probed = False
        self._seconds = CHECK_SECONDS
        self._timer = loop.call_later(max(0.0, FIRST_SECONDS - passed_seconds), self._check)

    def end(self) -> None:
        """Check no more."""
        self._timer.cancel()

    def _check(self) -> None:
        if self._transport.is_closing():
            return
        if _state_of(self._transport) == _TCP_CLOSE:
            self._transport.abort()
            return
        if not self._probed and self._may_probe():
            self._probed = True
            self._transport.write(INTERIM)
        self._timer = self._loop.call_later(self._seconds, self._check)
        self._seconds = min(2 * self._seconds, MOST_CHECK_SECONDS)
