"""Over TLS an answer is written in pieces: its transport would keep a large one where nobody sees it.

The transport encrypts all of it at once and hands it to the socket's transport below, whose buffer it does not count: a
client that never reads held 9 MB of an image for as long as it liked, and no limit of unread answers knew of it.
"""

import asyncio
from collections import deque

PIECE_BYTES = 64 * 1024


class Pieces:
    """What is left to write on one connection with TLS.

    Args:
        transport: the connection's. Its protocol passes on `pause_writing` and `resume_writing`.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left: deque[memoryview] = deque()
        self._left_bytes = 0
        self._paused = False

    def begin(self) -> None:
        """Have the transport say whenever anything waits in it; it may do so at once."""
        self._transport.set_write_buffer_limits(high=1, low=0)

    @property
    def left_bytes(self) -> int:
        """How much the transport has not been given."""
        return self._left_bytes

    def write(self, data: bytes) -> None:
        """Write what the socket takes now, and keep the rest."""
        view = memoryview(data)
        self._left.extend(
            view[start : start + PIECE_BYTES] for start in range(0, len(view), PIECE_BYTES)
        )
        self._left_bytes += len(view)
        self._go_on()

    def pause(self) -> None:
        """Note that the transport wants no more now."""
        self._paused = True

    def resume(self) -> bool:
        """Go on, because the transport has nothing left; return whether everything is written."""
        self._paused = False
        self._go_on()
        return not self._left and not self._paused

    def drop(self) -> None:
        """Forget what is left: the connection is closed."""
        self._left.clear()
        self._left_bytes = 0

    def _go_on(self) -> None:
        while self._left and not self._paused:
            piece = self._left.popleft()
            self._left_bytes -= len(piece)
            self._transport.write(piece)
