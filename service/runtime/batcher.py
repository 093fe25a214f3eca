"""One model's queue: jobs go in, whole batches come out to the workers, every caller is answered once."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    RequestError,
    ShuttingDownError,
)
from service.logs import LOGGER
from service.metrics import ModelMetrics
from service.runtime.disconnect import DisconnectWatch
from service.runtime.job import Job, JobResult, Outputs, PinnedInput, Run, Tensor, Trace
from service.runtime.workers import ReadyBatch, Workers

log = logging.getLogger(LOGGER)

T = TypeVar("T")

LOW_PRIORITY_SECONDS = 0.01
"""How long a background batch may hold a worker: about what a single image can wait without anybody noticing."""
PATIENCE_SECONDS = 1.0
"""How long a background job yields to others; then it takes its turn, so that it is slow but never starves."""


@dataclass(slots=True, eq=False)
class _Entry:
    job: Job[Any, Any]
    future: "asyncio.Future[JobResult[Any] | FovealError]"
    accepted_at: float
    deadline: float
    line: "_Line"
    trace: Trace = field(default_factory=Trace)
    tensor: Tensor | None = None
    aside: object = None


@dataclass(slots=True, eq=False)
class _Line:
    """Jobs that wait for their turn, oldest first, and how many more are being prepared for it."""

    waiting: deque[_Entry] = field(default_factory=deque)
    preparing: int = 0

    @property
    def depth(self) -> int:
        return len(self.waiting) + self.preparing


class Batcher:
    """Dynamic batching by pull, with zero added delay.

    A worker that is free takes at once what is queued: its fair share, up to `largest`. While all are busy the queue
    grows into the next batches. Behind the queue is a background line, for requests that become many jobs: its
    batches are small and yield to every other. Promises: an accepted job is answered exactly once, by its result,
    its error, its deadline or the shutdown; a caller that leaves is dropped before the run; a job that fails fails
    alone. Never blocks the event loop, never drops what it accepted.

    Args:
        runs: one callable an instance; a batch needs a free one. The same callable may stand there several times.
        workers: the threads that run batches.
        metrics: the model's series.
        largest: images in a batch at most.
        capacity: jobs that may wait at most, in each of the two lines.
        wide: runs a single job on all cores; taken while nothing else runs. None: `runs` serve that too.
        max_delay_seconds: how long a batch may wait to fill.
        macs: multiply-accumulates an image, for the metric.
        pool: where jobs are prepared ahead of the queue and finished behind it; None: by the worker that runs them.
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
        self.batches_run = 0
        self._idle = list(runs)
        self._wide = wide
        self._instances = len(runs)
        self._pinned = any(isinstance(run, PinnedInput) for run in runs)  # 10 µs to ask
        self._workers = workers
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
        """How many jobs wait."""
        return self._normal.depth + self._low_priority.depth

    @property
    def busy(self) -> bool:
        """Whether a batch runs, or something waits for one."""
        return bool(self.depth) or len(self._idle) < self._instances

    def open(self) -> None:
        """Begin to accept; called on the event loop that will get the answers."""
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
        left: Callable[[], Coroutine[Any, Any, None]] | None = None,
        low_priority: bool = False,
    ) -> list[JobResult[T] | FovealError]:
        """Queue all jobs or none, behind everybody else's if `background`, and return their outcomes in order.

        An outcome is the job's own answer or own error. What has not run yet is dropped when the call is cancelled,
        and when `left` returns, which says that the caller is gone.

        Raises:
            OverloadedError: they do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        deadline = now + timeout_seconds
        line = self._low_priority if low_priority else self._normal
        entries = [_Entry(job, loop.create_future(), now, deadline, line) for job in jobs]
        self._accept(entries, line)
        self._callers += 1
        self._no_callers.clear()
        alarm = loop.call_later(timeout_seconds, self._expire, entries, line)
        watch = (
            DisconnectWatch(loop, left, lambda: self._leave(entries, line))
            if left is not None
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
                    "The service is shutting down. Send this to another instance."
                )
            if line.depth + len(entries) > self._capacity:
                raise OverloadedError(
                    f"{line.depth} images wait already and {len(entries)} more do not fit into the queue of "
                    f"{self._capacity}. Try again in a moment."
                )
            if self._pool is None:
                line.waiting.extend(entries)
                self._workers.condition.notify(len(entries))
            else:
                line.preparing += len(entries)
        if self._pool is not None:
            for entry in entries:
                self._pool.submit(self._prepare_ahead, entry)

    def _expire(self, entries: list[_Entry], line: _Line) -> None:
        late = [(entry, _deadline_error(entry)) for entry in entries]
        self._settle(late)
        self._withdraw(line)

    def _leave(self, entries: list[_Entry], line: _Line) -> None:
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
        """Free the places in the line of those who got their answer otherwise or left."""
        with self._workers.condition:
            alive = [entry for entry in line.waiting if not entry.future.done()]
            line.waiting.clear()
            line.waiting.extend(alive)

    def _settle(self, outcomes: Sequence[tuple[_Entry, JobResult[Any] | FovealError]]) -> None:
        """The only place that answers a caller, always on the event loop, so that no future is settled twice."""
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
        began = time.perf_counter()
        try:
            ready = [entry for entry in entries if self._is_wanted(entry) and self._prepare(entry)]
            ready = [entry for entry in ready if self._is_wanted(entry)]
            finished = list(self._run_or_bisect(run, ready)) if ready else []
        finally:
            with self._workers.condition:
                low_priority = entries[0].line is self._low_priority
                if low_priority:
                    pace = (time.perf_counter() - began) / len(entries)
                    self._low_priority_largest = max(1, int(LOW_PRIORITY_SECONDS / max(pace, 1e-6)))
                self._idle.append(instance)
                self._workers.run_ended(low_priority=low_priority)
        if self._pool is None:
            self._finish(finished)
        elif finished:
            self._pool.submit(self._finish, finished)

    def _is_wanted(self, entry: _Entry) -> bool:
        if entry.future.done():
            return False
        if entry.deadline > time.perf_counter():
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
        """Make the job's tensor; a job that can not be prepared is answered at once, ahead of its neighbors' run."""
        if entry.tensor is not None:
            return True
        began = time.perf_counter()
        try:
            entry.tensor, entry.aside = entry.job.prepare()
        except FovealError as error:
            self._answer([(entry, _without_frames(error))])
            return False
        except Exception:  # a fault of ours in one job must not take its neighbors along
            log.exception("preparing an image failed")
            self._answer([(entry, InferenceError("The image could not be prepared."))])
            return False
        entry.trace.decode = time.perf_counter() - began
        return True

    def _run_or_bisect(
        self, run: Run, entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, Outputs | FovealError]]:
        """Run a batch; one that fails is halved until what is poisonous stands alone."""
        began = time.perf_counter()
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
                log.exception("the network failed on an image")
                yield entries[0], InferenceError(f"The network failed on this image: {error}")
                return
            log.warning("a batch of %d failed and is bisected: %s", len(entries), error)
            middle = len(entries) // 2
            yield from self._run_or_bisect(run, entries[:middle])
            yield from self._run_or_bisect(run, entries[middle:])
            return
        seconds = time.perf_counter() - began
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
        began = time.perf_counter()
        try:
            value = entry.job.finish(outputs, entry.aside)
        except FovealError as error:
            return _without_frames(error)
        except Exception:  # a fault of ours in one head must not take its neighbors along
            log.exception("a head failed")
            return InferenceError("The network ran, but its output could not be read.")
        entry.trace.head = time.perf_counter() - began
        for stage, histogram in self._metrics.stage.items():
            histogram.observe(getattr(entry.trace, stage))
        return JobResult(value, entry.trace)

    def _answer(self, outcomes: list[tuple[_Entry, JobResult[Any] | FovealError]]) -> None:
        """Carry a whole batch of outcomes to the event loop in one hop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _without_frames(error: FovealError) -> FovealError:
    """Cut an error off from where it was raised, which no client is told.

    Those frames hold the job and its image, and the job holds the error: only the garbage collector would part them.
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
