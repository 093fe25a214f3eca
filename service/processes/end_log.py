"""What the log says of the end of a process: which signal came, what is waited for, and what was not answered."""

import logging
import signal
import time
from collections.abc import Callable

from service.logs import LOGGER

log = logging.getLogger(LOGGER)


class EndLog:
    """The lines of one process. None is written in a signal handler, where a line may be half written.

    Args:
        name: of the process among several; empty where it is the only one.
        clock: returns seconds.
    """

    def __init__(self, name: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._start = f"{name}: " if name else ""
        self._name = name or "Foveal"
        self._clock = clock
        self._signaled_at: float | None = None

    def signaled(self, number: int, grace_seconds: float) -> None:
        """Say which signal came, and for how long requests are still accepted."""
        self._signaled_at = self._clock()
        answers = f", and answers new requests for {grace_seconds:g} s" if grace_seconds else ""
        log.info(
            "%sreceived %s; it is not ready any more%s",
            self._start,
            signal.Signals(number).name,
            answers,
        )

    def closed(self, unanswered: int) -> None:
        """Say that no connection is accepted any more, and how many requests are being answered."""
        log.info(
            "%sthe socket is closed; %s", self._start, _not_answered(unanswered, "not answered yet")
        )

    def ended(self, unanswered: int) -> None:
        """Say how the process ended: after how long, and whether without an answer to some request."""
        since = ""
        if self._signaled_at is not None:
            since = f" {self._clock() - self._signaled_at:.1f} s after the signal"
        level = logging.WARNING if unanswered else logging.INFO
        outcome = _not_answered(unanswered, "left without an answer")
        log.log(level, "%s ended%s; %s", self._name, since, outcome)


def _not_answered(count: int, what: str) -> str:
    if not count:
        return "every request is answered"
    return f"{count} {'request is' if count == 1 else 'requests are'} {what}"
