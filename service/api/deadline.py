"""A request's deadline: parsed once, counted from the request's head, so that receiving the body uses it up too."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.errors import DeadlineError, InvalidParameterError
from service.faults import shown
from service.value import value

TIMEOUT_HEADER = "X-Timeout-Ms"
LONGEST_TIMEOUT_MS = 3_600_000.0

Clock = Callable[[], float]
"""Seconds that only ever grow, from any start."""


@value
class Deadline:
    """When a request must be answered.

    Args:
        allowed_seconds: from the request's head to the deadline. Error messages state this number, and never what is
            left of it.
        began: the clock's time when the head arrived.
        requested: whether the client sent it; else it is the service's default.
        clock: what `began` was read from.
    """

    allowed_seconds: float
    began: float
    requested: bool = False
    clock: Clock = time.perf_counter

    def left(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        return max(0.0, self.allowed_seconds - (self.clock() - self.began))

    def body_late(self) -> DeadlineError:
        """Return the error for a body that did not arrive in time."""
        return DeadlineError(
            f"The body did not arrive within {self._allowed_ms()} ms. Send a smaller body, or allow more time with "
            f"{TIMEOUT_HEADER}."
        )

    def answer_late(self) -> DeadlineError:
        """Return the error for an answer that was not ready in time."""
        return DeadlineError(f"The answer was not ready within {self._allowed_ms()} ms.")

    def require_time(self) -> None:
        """Do nothing before the deadline.

        Raises:
            DeadlineError: it passed.
        """
        if not self.left():
            raise self.answer_late()

    @asynccontextmanager
    async def limit(self, late: Callable[[], DeadlineError]) -> AsyncIterator[asyncio.Timeout]:
        """Cancel the block at the deadline; what is yielded can be rescheduled to end it sooner.

        Args:
            late: makes the error, `body_late` or `answer_late`.

        Raises:
            DeadlineError: the deadline passed before the block ended.
        """
        try:
            async with asyncio.timeout(self.left()) as timeout:
                yield timeout
        except TimeoutError:
            if not timeout.expired():  # another one, raised inside the block
                raise
            raise late() from None

    def _allowed_ms(self) -> str:
        return f"{self.allowed_seconds * 1e3:.7g}"


def parse_timeout(text: str) -> float:
    """Return the seconds that the value of an `X-Timeout-Ms` header allows.

    Raises:
        InvalidParameterError: it is not a number of milliseconds within range.
    """
    try:
        timeout_ms = 0.0 if "_" in text else float(text)  # Python alone reads 1_0 as a number
    except ValueError:
        timeout_ms = 0.0
    if not 0 < timeout_ms <= LONGEST_TIMEOUT_MS:
        raise InvalidParameterError(
            f"{TIMEOUT_HEADER}: must be a number of milliseconds above 0 and up to {LONGEST_TIMEOUT_MS:.0f}, "
            f"not {shown(text)}"
        )
    return timeout_ms / 1e3
