"""The rest of a body that was answered before its end: it is read, so that the connection can be used again."""

import asyncio

from service.processes.transport import LINGER_BYTES, PatientTransport

DISCARD_SECONDS = 10.0
"""How long the rest may take; then its connection is closed."""


class RestOfBody:
    """Bounds how long and how much is read for nothing.

    Args:
        transport: of the connection.
        loop: its event loop.
    """

    def __init__(self, transport: PatientTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._discarded = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, left: int | None) -> None:
        """Read on, or close the connection where too much is left; None: it is not known how much. Again does nothing.

        A connection that is closing stays as it is.
        """
        if self._timer is not None or self._transport.is_closing():
            return
        self._discarded = 0
        if left is not None and left > LINGER_BYTES:
            self._transport.close()
        else:
            self._timer = self._loop.call_later(DISCARD_SECONDS, self._transport.linger)

    def came(self, size: int) -> None:
        """Count bytes of a body, which were read for nothing if its answer was there before."""
        if self._timer is not None:
            self._discarded += size
            if self._discarded > LINGER_BYTES:
                self._transport.raw.close()

    def end(self) -> None:
        """Wait no longer: the body has ended, or its connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
