"""Connections that wait for a request: where as many are open as may be, the one that waits longest gives way.

All of them are kept in this order. Of uvicorn's set only the first 64 were looked at: a new connection takes the memory
of one that was closed, and with it its place in the set. So these were soon all new, and clients were refused while
hundreds of connections were idle.
"""

from collections import OrderedDict
from typing import Protocol

SPARED_SECONDS = 1.0
"""How long a connection without a request is left alone where the service has as many as it may have."""


class Idle(Protocol):
    """A connection; it is added whenever it begins to wait."""

    idle_since: float

    @property
    def waits(self) -> bool:
        """Whether it waits for a request of which no byte has come."""

    def close_idle(self) -> None:
        """Close it."""


class IdleConnections:
    """Those of one process; some of them may have got a request since."""

    def __init__(self) -> None:
        self._all: OrderedDict[Idle, None] = OrderedDict()

    def add(self, connection: Idle) -> None:
        """Note that a connection waits from now on."""
        self._all[connection] = None
        self._all.move_to_end(connection)

    def remove(self, connection: Idle) -> None:
        """Note that a connection is closed."""
        self._all.pop(connection, None)

    def close_oldest(self, now: float) -> bool:
        """Close the one that has waited for longest, unless it began just now; return whether there was one."""
        while self._all:
            oldest = next(iter(self._all))
            if oldest.waits and now - oldest.idle_since <= SPARED_SECONDS:
                return False
            del self._all[oldest]
            if oldest.waits:
                oldest.close_idle()
                return True
        return False
