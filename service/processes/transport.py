"""How a connection ends: its last answer reaches a client that still sends, and no client holds it for ever."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from service.processes.pieces import Pieces

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
"""How long and how much is received and dropped after the last answer. Closed at once, the connection would be reset,
and a client that still sends would not see its answer."""
LEAST_WRITTEN = 32 * 1024
"""A client must read so many bytes in each `write_seconds`."""


class PatientTransport:
    """What uvicorn writes to and closes, in place of the transport.

    Args:
        raw: the transport.
        loop: its event loop.
        write_seconds: how long a client may read nothing of what is written.
        still_sends: whether the client is still sending, so that a close has to wait for it.
        on_leave: called when nothing more will be written, and the connection only waits for its client.
    """

    def __init__(
        self,
        raw: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        write_seconds: float,
        still_sends: Callable[[], bool],
        on_leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.raw = raw
        is_tls = raw.get_extra_info("sslcontext") is not None
        self._pieces = Pieces(raw) if is_tls else None
        self._closes = False  # when its pieces are written
        self.write: Callable[[bytes], None] = (
            raw.write if self._pieces is None else self._pieces.write
        )
        self.get_extra_info = raw.get_extra_info
        self.pause_reading = raw.pause_reading
        self.resume_reading = raw.resume_reading
        self.lingers = False
        """Whether the last answer is written, and what still comes is dropped."""
        self._loop = loop
        self._write_seconds = write_seconds
        self._still_sends: Callable[[], bool] | None = still_sends
        self._on_leave: Callable[[], None] | None = on_leave
        self._dropped = 0
        self._unwritten = 0
        self._close_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.raw, name)

    def is_closing(self) -> bool:
        return self.lingers or self._closes or self.raw.is_closing()

    def close(self) -> None:
        """Close when everything is written; before that, let a client that still sends see its answer."""
        if self._still_sends is not None and self._still_sends():
            self.linger()
        else:
            self._close_raw()

    def linger(self) -> None:
        """Write no more, drop what still comes, and close a little later."""
        if self.is_closing():
            return
        self.lingers = True
        self._leave()
        if self.raw.can_write_eof():
            self.raw.write_eof()
        self.raw.resume_reading()
        self._close_timer = self._loop.call_later(LINGER_SECONDS, self._close_raw)
        self.watch_writing()

    def drop(self, size: int) -> None:
        """Count what came after the last answer."""
        self._dropped += size
        if self._dropped > LINGER_BYTES:
            self._close_raw()

    def watch_writing(self) -> None:
        """Give up a client that does not read what is written."""
        if self._write_timer is None:
            self._unwritten = self.unread_bytes()
            self._write_timer = self._loop.call_later(self._write_seconds, self._on_write_late)

    def begin(self) -> None:
        """Hear of what waits for the client; the protocol's methods are called from here on."""
        if self._pieces is not None:
            self._pieces.begin()

    def pause(self) -> None:
        """Note that what is written waits for the client."""
        if self._pieces is not None:
            self._pieces.pause()
        self.watch_writing()

    def resume(self) -> bool:
        """Write on where the client has read; return whether there is nothing left."""
        if self._pieces is not None and not self._pieces.resume():
            return False
        self.was_read()
        if self._closes:
            self.raw.close()
        return True

    def was_read(self) -> None:
        """Note that the client has read nearly everything."""
        if self._write_timer is not None and not self.raw.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def lost(self) -> None:
        """Note that the connection is closed; nothing refers to it from here any more."""
        self._still_sends = self._on_leave = None
        if self._pieces is not None:
            self._pieces.drop()
        for timer in (self._close_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def _leave(self) -> None:
        if self._on_leave is not None:
            self._on_leave()

    def _close_raw(self) -> None:
        self._leave()
        if self._pieces is not None and self._pieces.left_bytes:
            self._closes = True
            self.watch_writing()
            return
        self.raw.close()
        if self.raw.get_write_buffer_size():
            self.watch_writing()

    def unread_bytes(self) -> int:
        """Return how much of what was written the client has not read."""
        left = 0 if self._pieces is None else self._pieces.left_bytes
        return left + self.raw.get_write_buffer_size()

    def reset(self) -> None:
        """Close at once, in the kernel too, which would go on to offer what is not read."""
        connection = self.raw.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.write = _drop  # what still writes does not know yet that the connection is closed
        if self._pieces is not None:
            self._pieces.drop()
        self.raw.abort()

    def _on_write_late(self) -> None:
        self._write_timer = None
        left = self.unread_bytes()
        if not left:
            return
        if left > self._unwritten - LEAST_WRITTEN:
            self.reset()
        else:
            self.watch_writing()


def _drop(_: bytes) -> None:
    """In place of writing to a closed connection."""
