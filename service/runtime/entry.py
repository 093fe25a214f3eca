"""A job in a queue: its future, its deadline, and how its error is worded."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    RequestError,
)
from service.runtime.call_outcomes import CallOutcomes
from service.runtime.job import Job, JobResult, Tensor, Trace
from service.spans import TracedImage

Outcome = JobResult[Any] | FovealError


@dataclass(slots=True, eq=False)
class Entry:
    """A job in the queue, with the future that its caller waits for. Times are seconds of the workers' clock.

    `waits_since` is when it began to yield to others: before it was queued, where it had waited for a place or for its
    decoder. `spreads` says that it may run on all cores, though it is of low priority. `call` is None where the call
    has no other job. `traced` is None but for an image of a request whose trace is recorded.
    """

    job: Job[Any, Any]
    future: "asyncio.Future[Outcome]"
    accepted_at: float
    deadline: float
    line: "Line"
    waits_since: float = 0.0
    trace: Trace = field(default_factory=Trace)
    tensor: Tensor | None = None
    context: object = None
    call: "CallOutcomes[Entry, Outcome] | None" = None
    traced: TracedImage | None = None
    spreads: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether it has an outcome, also one that its caller has not got yet."""
        return self.future.done() or (self.call is not None and self.call.has(self))


@dataclass(slots=True, eq=False)
class Line:
    """Prepared or unprepared jobs that wait, oldest first, and how many more are being prepared ahead."""

    waiting: deque[Entry] = field(default_factory=deque)
    preparing: int = 0

    @property
    def depth(self) -> int:
        return len(self.waiting) + self.preparing

    def keep_unanswered(self) -> None:
        """Remove what was answered in the meantime, which makes room for others."""
        alive = [entry for entry in self.waiting if not entry.future.done()]
        self.waiting.clear()
        self.waiting.extend(alive)


def without_frames(error: FovealError) -> FovealError:
    """Remove an error's traceback and causes, which no client sees.

    They refer to frames that hold the job and its image, and the job holds the error: without this, the memory of the
    image would stay until the garbage collector runs.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def deadline_error(entry: Entry) -> DeadlineError:
    """Return the error of a job whose deadline has passed."""
    allowed = (entry.deadline - entry.accepted_at) * 1e3
    shown = f"{allowed:.0f}" if allowed >= 10 else f"{allowed:.3g}"
    return DeadlineError(f"The answer was not ready within {shown} ms.")


def outcome_name(error: FovealError) -> str:
    """Return under which name an error is counted as an outcome."""
    for kind, name in _OUTCOME_NAMES.items():
        if isinstance(error, kind):
            return name
    return "failed"


_OUTCOME_NAMES: dict[type[FovealError], str] = {
    RequestError: "refused",
    DeadlineError: "expired",
    ClientLeftError: "abandoned",
}
