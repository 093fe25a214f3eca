"""Connections that end: nothing is worked on for them, and only their client keeps them open.

Its last answer may not be read yet, it may still send a body that was answered, or, over TLS, it may not have said
goodbye. That takes seconds for a client that does not want to leave, and it must not take a place from others.
"""

from collections.abc import Callable

MOST_LEAVING = 64
"""Beside as many as may be open. Above it the oldest ones are given up; the service keeps files free for so many."""


class LeavingConnections:
    """Those of one process, the oldest first.

    Args:
        most: how many may take their time where all places are taken.
    """

    def __init__(self, most: int = MOST_LEAVING) -> None:
        self._most = most
        self._patient: dict[object, Callable[[], object]] = {}
        self._all: set[object] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, connection: object) -> bool:
        return connection in self._all

    def add(self, connection: object, give_up: Callable[[], object]) -> None:
        """Note that a connection ends.

        Args:
            connection: it; again does nothing.
            give_up: closes it at once.
        """
        if connection not in self._all:
            self._all.add(connection)
            self._patient[connection] = give_up

    def remove(self, connection: object) -> None:
        """Note that a connection is closed, or that it was none of these."""
        self._all.discard(connection)
        self._patient.pop(connection, None)

    def give_up_oldest(self) -> None:
        """Close the oldest ones at once, until no more take their time than may."""
        while len(self._patient) > self._most:
            self._give_up_oldest()

    def give_up_one(self) -> bool:
        """Close the oldest one at once, unless another is just being closed; return whether one is."""
        if len(self._all) > len(self._patient):
            return True
        if not self._patient:
            return False
        self._give_up_oldest()
        return True

    def _give_up_oldest(self) -> None:
        oldest = next(iter(self._patient))
        self._patient.pop(oldest)()
