"""One model's queue: jobs come in, workers take whole batches out, and each caller is answered exactly once."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakMethod

import numpy as np

from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    RequestError,
    ShuttingDownError,
    for_clients,
)
from service.logs import LOGGER
from service.metrics import ModelMetrics
from service.runtime.disconnect import DisconnectWatch
from service.runtime.job import Job, JobResult, Outputs, PinnedInput, Run, Tensor, Trace
from service.runtime.workers import ReadyBatch, Workers

log = logging.getLogger(LOGGER)

T = TypeVar("T")

LOW_PRIORITY_SECONDS = 0.01
"""How long a low-priority batch may occupy a worker: a delay of a single image that nobody notices."""
PATIENCE_SECONDS = 1.0
"""How long a low-priority job yields to all others; then it takes its turn, so that it is slow but never starves."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A job in the queue, with the future that its caller waits for. Times are seconds of the workers' clock."""

    job: Job[Any, Any]
    future: "asyncio.Future[JobResult[Any] | FovealError]"
    accepted_at: float
    deadline: float
    line: "_Line"
    trace: Trace = field(default_factory=Trace)
    tensor: Tensor | None = None
    context: object = None


@dataclass(slots=True, eq=False)
class _Line:
    """Prepared or unprepared jobs that wait, oldest first, and how many more are being prepared ahead."""

    waiting: deque[_Entry] = field(default_factory=deque)
    preparing: int = 0

    @property
    def depth(self) -> int:
        return len(self.waiting) + self.preparing


class Batcher:
    """Dynamic batching by pull, with zero added delay.

    A free worker takes at once what is queued: its fair share, up to `largest`. While all workers are busy, the queue
    grows into the next batches. There are two lines: one for single images, and a low-priority line for requests that
    become many jobs. Low-priority batches are small and yield to all others.

    Promises: an accepted job is answered exactly once, by its result, its error, its deadline or the shutdown. The
    jobs of a caller that disconnected are dropped before they run. A job that fails, fails alone. It never blocks the
    event loop and never drops what it accepted.

    Args:
        runs: one callable for each instance; a batch needs a free one. The same callable may be listed several times.
        workers: the threads that run batches; their clock measures all times here.
        metrics: the model's series.
        largest: images in a batch at most.
        capacity: jobs that may wait at most, in each of the two lines.
        wide: runs a single job on all cores; used while nothing else runs. None: `runs` do that too.
        max_delay_seconds: how long a batch may wait to fill.
        macs: multiply-accumulate operations per image, for the metric.
        pool: threads that prepare jobs before they are queued and finish them after the run. None: the worker that
            runs the batch does both.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        workers: Workers,
        metrics: ModelMetrics,
        *,
        largest: int,
        capacity: int,
        wide: Run | None = None,
        max_delay_seconds: float = 0.0,
        macs: int = 0,
        pool: Executor | None = None,
    ) -> None:
        self.largest = largest
        self.batches_taken = 0
        self.batches_unwanted = 0
        """How many of those that were taken never ran, because nobody waited for them any more."""
        self.batches_run = 0
        self._idle = list(runs)
        self._wide = wide
        self._instances = len(runs)
        self._pinned = any(
            isinstance(run, PinnedInput) for run in runs
        )  # here, since it takes 10 µs
        self._workers = workers
        self._clock = workers.clock
        self._metrics = metrics
        self._capacity = capacity
        self._max_delay = max_delay_seconds
        self._macs = macs
        self._pool = pool
        self._normal = _Line()
        self._low_priority = _Line()
        self._low_priority_largest = 1
        self._closed = False
        self._callers = 0
        self._no_callers = asyncio.Event()
        self._no_callers.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def depth(self) -> int:
        """How many jobs wait in both lines."""
        return self._normal.depth + self._low_priority.depth

    @property
    def busy(self) -> bool:
        """Whether a batch runs, or something waits for one."""
        return bool(self.depth) or len(self._idle) < self._instances

    def open(self) -> None:
        """Begin to accept jobs; called on the event loop whose callers get the answers."""
        self._loop = asyncio.get_running_loop()
        self._workers.attach(self)

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        with self._workers.condition:
            self._closed = True
            self._workers.condition.notify_all()
        await self._no_callers.wait()
        self._workers.detach(self)

    async def submit(
        self,
        jobs: Sequence[Job[Any, T]],
        *,
        timeout_seconds: float,
        disconnected: Callable[[], Coroutine[Any, Any, None]] | None = None,
        low_priority: bool = False,
    ) -> list[JobResult[T] | FovealError]:
        """Queue all jobs or none, and return their outcomes in order: each job's own result or own error.

        Jobs that have not run are dropped when the call is canceled, and when `disconnected` returns.

        Args:
            jobs: what to run.
            timeout_seconds: how long until jobs without a result are answered with a `DeadlineError`.
            disconnected: a coroutine function that returns when the caller has disconnected.
            low_priority: whether the jobs wait in the low-priority line.

        Raises:
            OverloadedError: the jobs do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        deadline = now + timeout_seconds
        line = self._low_priority if low_priority else self._normal
        entries = [_Entry(job, loop.create_future(), now, deadline, line) for job in jobs]
        self._accept(entries, line)
        self._callers += 1
        self._no_callers.clear()
        alarm = loop.call_later(timeout_seconds, self._expire, entries, line)
        watch = (
            DisconnectWatch(loop, disconnected, lambda: self._drop_disconnected(entries, line))
            if disconnected is not None
            else None
        )
        try:
            return [await entry.future for entry in entries]
        except asyncio.CancelledError:
            self._abandon(entries, line)
            raise
        finally:
            alarm.cancel()
            if watch is not None:
                watch.end()
            self._callers -= 1
            if not self._callers:
                self._no_callers.set()

    # On the event loop.

    def _accept(self, entries: list[_Entry], line: _Line) -> None:
        with self._workers.condition:
            if self._closed:
                raise ShuttingDownError(
                    "This queue is closed: the service is shutting down, or the model was removed. "
                    "Send the request again."
                )
            if line.depth + len(entries) > self._capacity:
                error = OverloadedError(
                    f"{line.depth} images wait already, and {len(entries)} more do not fit into the queue of "
                    f"{self._capacity}. Try again in a moment."
                )
                error.room = WeakMethod(self._room)
                raise error
            if self._pool is None:
                line.waiting.extend(entries)
                self._workers.condition.notify(len(entries))
            else:
                line.preparing += len(entries)
        if self._pool is not None:
            for entry in entries:
                self._pool.submit(self._prepare_ahead, entry)

    def _room(self) -> int:
        return self._capacity - self._normal.depth

    def _expire(self, entries: list[_Entry], line: _Line) -> None:
        late = [(entry, _deadline_error(entry)) for entry in entries]
        self._settle(late)
        self._withdraw(line)

    def _drop_disconnected(self, entries: list[_Entry], line: _Line) -> None:
        self._settle(
            [(entry, ClientLeftError("The client closed its connection.")) for entry in entries]
        )
        self._withdraw(line)

    def _abandon(self, entries: list[_Entry], line: _Line) -> None:
        for entry in entries:
            if entry.future.cancel() or entry.future.cancelled():
                self._metrics.outcome["abandoned"].inc()
        self._withdraw(line)

    def _withdraw(self, line: _Line) -> None:
        """Remove from the line what was answered in the meantime, which makes room for others."""
        with self._workers.condition:
            alive = [entry for entry in line.waiting if not entry.future.done()]
            line.waiting.clear()
            line.waiting.extend(alive)

    def _settle(self, outcomes: Sequence[tuple[_Entry, JobResult[Any] | FovealError]]) -> None:
        """Answer callers: the only place that does, always on the event loop, so that no future is settled twice."""
        for entry, outcome in outcomes:
            if entry.future.done():
                continue
            entry.future.set_result(outcome)
            self._metrics.outcome[_outcome_name(outcome)].inc()

    # Called by the workers with the condition held.

    def ready_batches(self, now: float) -> list[ReadyBatch]:
        if not self._idle:
            return []
        offers = []
        if normal := self._normal.waiting:
            full = len(normal) >= self.largest or self._closed
            at = normal[0].accepted_at + (0.0 if full else self._max_delay)
            offers.append(ReadyBatch(yields=False, at=at, low_priority=False))
        if low_priority := self._low_priority.waiting:
            at = low_priority[0].accepted_at
            offers.append(ReadyBatch(yields=now - at < PATIENCE_SECONDS, at=at, low_priority=True))
        return offers

    def take(self, workers: int, *, low_priority: bool, alone: bool) -> Callable[[], None]:
        queue = (self._low_priority if low_priority else self._normal).waiting
        waiting = len(queue)
        share = math.ceil(waiting / min(workers, self._instances))
        if low_priority:
            size = min(self.largest, share, self._low_priority_largest)
        else:
            size = min(self.largest, waiting if self._max_delay else share)
        entries = [queue.popleft() for _ in range(size)]
        instance = self._idle.pop()
        self.batches_taken += 1
        self._metrics.closed[self._why_closed(size, waiting)].inc()
        lone = alone and waiting == 1 and not low_priority
        run = self._wide if self._wide is not None and lone else instance
        return lambda: self._run_batch(run, entries, instance)

    def _why_closed(self, size: int, waiting: int) -> str:
        if size == self.largest:
            return "full"
        if size < waiting:
            return "shared"
        return "delay" if self._max_delay else "drained"

    # On worker threads.

    def _run_batch(self, run: Run, entries: list[_Entry], instance: Run) -> None:
        began, ready = self._clock(), list[_Entry]()
        try:
            ready = [entry for entry in entries if self._is_wanted(entry) and self._prepare(entry)]
            ready = [entry for entry in ready if self._is_wanted(entry)]
            finished = list(self._run_or_bisect(run, ready)) if ready else []
        finally:
            with self._workers.condition:
                low_priority = entries[0].line is self._low_priority
                if low_priority:
                    pace = (self._clock() - began) / len(entries)
                    self._low_priority_largest = max(1, int(LOW_PRIORITY_SECONDS / max(pace, 1e-6)))
                self._idle.append(instance)
                self.batches_unwanted += not ready
                self._workers.run_ended(low_priority=low_priority)
        if self._pool is None:
            self._finish(finished)
        elif finished:
            self._pool.submit(self._finish, finished)

    def _is_wanted(self, entry: _Entry) -> bool:
        if entry.future.done():
            return False
        if entry.deadline > self._clock():
            return True
        self._answer([(entry, _deadline_error(entry))])
        return False

    def _prepare_ahead(self, entry: _Entry) -> None:
        wanted = self._is_wanted(entry) and self._prepare(entry)
        with self._workers.condition:
            entry.line.preparing -= 1
            if wanted:
                entry.line.waiting.append(entry)
                self._workers.condition.notify()

    def _prepare(self, entry: _Entry) -> bool:
        """Make the job's tensor; return whether that worked. A job that failed is answered at once, before the run."""
        if entry.tensor is not None:
            return True
        began = self._clock()
        try:
            entry.tensor, entry.context = entry.job.prepare()
        except FovealError as error:
            self._answer([(entry, _without_frames(error))])
            return False
        except Exception:  # a bug that one job meets must not fail the others of its batch
            log.exception("An image could not be prepared, because of an unexpected error.")
            self._answer([(entry, InferenceError("The image could not be prepared."))])
            return False
        entry.trace.decode = self._clock() - began
        return True

    def _run_or_bisect(
        self, run: Run, entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, Outputs | FovealError]]:
        """Run a batch. One that fails is halved and runs again, until the job that makes it fail is alone."""
        began = self._clock()
        try:
            room = (
                run.pinned_input(len(entries))
                if self._pinned and isinstance(run, PinnedInput)
                else None
            )
            tensors = [entry.tensor for entry in entries if entry.tensor is not None]
            outputs = run(np.stack(tensors, out=room))
        except Exception as error:  # ONNX Runtime raises untyped errors
            if len(entries) == 1:
                log.exception("The network failed on an image.")
                told = for_clients(f"The network failed on this image: {error}")
                yield entries[0], InferenceError(told)
                return
            log.warning(
                "A batch of %d failed and runs again in two halves: %s", len(entries), error
            )
            middle = len(entries) // 2
            yield from self._run_or_bisect(run, entries[:middle])
            yield from self._run_or_bisect(run, entries[middle:])
            return
        seconds = self._clock() - began
        self._count_batch(len(entries))
        for index, entry in enumerate(entries):
            entry.trace.batch_size = len(entries)
            entry.trace.infer = seconds
            entry.trace.queue = max(0.0, began - entry.accepted_at - entry.trace.decode)
            yield entry, {name: rows[index] for name, rows in outputs.items()}

    def _count_batch(self, size: int) -> None:
        self.batches_run += 1
        self._metrics.batch_size.observe(size)
        self._metrics.macs.inc(self._macs * size)

    def _finish(self, rows: list[tuple[_Entry, Outputs | FovealError]]) -> None:
        outcomes = [
            (entry, row if isinstance(row, FovealError) else self._head(entry, row))
            for entry, row in rows
        ]
        if outcomes:
            self._answer(outcomes)

    def _head(self, entry: _Entry, outputs: Outputs) -> JobResult[Any] | FovealError:
        began = self._clock()
        try:
            value = entry.job.finish(outputs, entry.context)
        except FovealError as error:
            return _without_frames(error)
        except Exception:  # a bug that one job meets must not fail the others of its batch
            log.exception("A head failed with an unexpected error.")
            return InferenceError("The network ran, but its output could not be read.")
        entry.trace.head = self._clock() - began
        for stage, histogram in self._metrics.stage.items():
            histogram.observe(getattr(entry.trace, stage))
        return JobResult(value, entry.trace)

    def _answer(self, outcomes: list[tuple[_Entry, JobResult[Any] | FovealError]]) -> None:
        """Hand the outcomes of a whole batch to the event loop in one call."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _without_frames(error: FovealError) -> FovealError:
    """Remove an error's traceback and causes, which no client sees.

    They refer to frames that hold the job and its image, and the job holds the error: without this, the memory of the
    image would stay until the garbage collector runs.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _deadline_error(entry: _Entry) -> DeadlineError:
    allowed = (entry.deadline - entry.accepted_at) * 1e3
    return DeadlineError(f"The answer was not ready within {allowed:.0f} ms.")


def _outcome_name(outcome: "JobResult[Any] | FovealError") -> str:
    if isinstance(outcome, JobResult):
        return "answered"
    for kind, name in _OUTCOME_NAMES.items():
        if isinstance(outcome, kind):
            return name
    return "failed"


_OUTCOME_NAMES: dict[type[FovealError], str] = {
    RequestError: "refused",
    DeadlineError: "expired",
    ClientLeftError: "abandoned",
}
