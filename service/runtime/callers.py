"""Those who wait for jobs in one model's queue: each job is answered once, and each request is counted."""

import asyncio
from collections.abc import Sequence

from service.metrics import VersionMetrics
from service.model_statistics import VersionStatistics
from service.runtime.entry import Entry, Outcome, outcome_name
from service.runtime.job import JobResult


class Callers:
    """Answers the callers of a queue. All methods but `answer` are called on the event loop.

    Args:
        metrics: the model's series.
        statistics: counts the requests.

    Attributes:
        answers: how many jobs were answered with a result.
    """

    def __init__(self, metrics: VersionMetrics, statistics: VersionStatistics) -> None:
        self.answers = 0
        self._metrics = metrics
        self._statistics = statistics
        self._waiting = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Answer on this event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def enter(self) -> None:
        """Note that a caller waits."""
        self._waiting += 1
        self._nobody_waits.clear()

    def leave(self) -> None:
        """Note that one has got all its outcomes, or has left."""
        self._waiting -= 1
        if not self._waiting:
            self._nobody_waits.set()

    async def all_left(self) -> None:
        """Return when no caller waits."""
        await self._nobody_waits.wait()

    def answer(self, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        """Hand the outcomes of a batch that complete a call to the event loop, all together; for worker threads."""
        due: list[tuple[Entry, Outcome]] = []
        for entry, outcome in outcomes:
            due += [(entry, outcome)] if entry.call is None else entry.call.add(entry, outcome)
        if due and self._loop is not None:
            self._loop.call_soon_threadsafe(self.settle, due)

    def settle(self, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        """Answer jobs: the only place that does, so that no future is settled twice."""
        answers = 0
        calls = {id(entry.call): entry.call for entry, _ in outcomes if entry.call is not None}
        kept = [one for call in calls.values() for one in call.release()]
        for entry, outcome in (*kept, *outcomes):
            if entry.future.done():
                continue
            entry.future.set_result(outcome)
            if isinstance(outcome, JobResult):
                answers += 1
            else:
                self._metrics.outcome[outcome_name(outcome)].inc()
        if answers:
            self.answers += answers
            self._metrics.outcome["answered"].inc(answers)

    def abandon(self, entries: Sequence[Entry]) -> None:
        """Drop the jobs of a call that was canceled, also those whose outcomes it has not got yet."""
        for entry in entries:
            if entry.call is not None:
                entry.call.release()
            if entry.future.cancel() or entry.future.cancelled():
                self._metrics.outcome["abandoned"].inc()

    def count(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Count a request; of several images, which ran side by side, the longest of each stage."""
        if len(outcomes) == 1:
            (outcome,) = outcomes
            if isinstance(outcome, JobResult):
                trace = outcome.trace
                self._statistics.succeeded(
                    seconds, trace.queue, trace.decode, trace.infer, trace.head
                )
            else:
                self._statistics.failed(seconds)
            return
        traces = [outcome.trace for outcome in outcomes if isinstance(outcome, JobResult)]
        if len(traces) < len(outcomes) or not traces:
            self._statistics.failed(seconds)
            return
        self._statistics.succeeded(
            seconds,
            max(trace.queue for trace in traces),
            max(trace.decode for trace in traces),
            max(trace.infer for trace in traces),
            max(trace.head for trace in traces),
        )
