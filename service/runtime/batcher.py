"""One model's queue: errands go in, whole batches come out to the workers, every caller is answered once."""

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
from service.runtime.disconnect import Vigil
from service.runtime.job import Answer, Errand, Outputs, Run, Staged, Tensor, Trace
from service.runtime.workers import Ripe, Workers

log = logging.getLogger(LOGGER)

T = TypeVar("T")

BEHIND_SECONDS = 0.01
"""How long a background batch may hold a worker: about what a single picture can wait without anybody noticing."""
PATIENCE_SECONDS = 1.0
"""How long a background errand yields to others; then it takes its turn, so that it is slow but never starves."""


@dataclass(slots=True, eq=False)
class _Job:
    errand: Errand[Any, Any]
    future: "asyncio.Future[Answer[Any] | FovealError]"
    accepted_at: float
    deadline: float
    line: "_Line"
    trace: Trace = field(default_factory=Trace)
    tensor: Tensor | None = None
    aside: object = None


@dataclass(slots=True, eq=False)
class _Line:
    """Errands that wait for their turn, oldest first, and how many more are being prepared for it."""

    waiting: deque[_Job] = field(default_factory=deque)
    preparing: int = 0

    @property
    def depth(self) -> int:
        return len(self.waiting) + self.preparing


class Batcher:
    """Dynamic batching by pull, with zero added delay.

    A worker that is free takes at once what is queued: its fair share, up to `largest`. While all are busy the queue
    grows into the next batches. Behind the queue is a background line, for requests that become many errands: its
    batches are small and yield to every other. Promises: an accepted errand is answered exactly once, by its result,
    its error, its deadline or the shutdown; a caller that leaves is dropped before the run; an errand that fails fails
    alone. Never blocks the event loop, never drops what it accepted.

    Args:
        runs: one callable an instance; a batch needs a free one. The same callable may stand there several times.
        workers: the threads that run batches.
        metrics: the model's series.
        largest: pictures in a batch at most.
        capacity: errands that may wait at most, in each of the two lines.
        wide: runs a single errand on all cores; taken while nothing else runs. None: `runs` serve that too.
        max_delay_seconds: how long a batch may wait to fill.
        macs: multiply-accumulates a picture, for the metric.
        pool: where errands are prepared ahead of the queue and finished behind it; None: by the worker that runs them.
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
        self._stages = any(isinstance(run, Staged) for run in runs)  # 10 µs to ask
        self._workers = workers
        self._metrics = metrics
        self._capacity = capacity
        self._max_delay = max_delay_seconds
        self._macs = macs
        self._pool = pool
        self._front = _Line()
        self._behind = _Line()
        self._behind_largest = 1
        self._closed = False
        self._callers = 0
        self._no_callers = asyncio.Event()
        self._no_callers.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def depth(self) -> int:
        """How many errands wait."""
        return self._front.depth + self._behind.depth

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
        errands: Sequence[Errand[Any, T]],
        *,
        timeout_seconds: float,
        left: Callable[[], Coroutine[Any, Any, None]] | None = None,
        background: bool = False,
    ) -> list[Answer[T] | FovealError]:
        """Queue all errands or none, behind everybody else's if `background`, and return their outcomes in order.

        An outcome is the errand's own answer or own error. What has not run yet is dropped when the call is cancelled,
        and when `left` returns, which says that the caller is gone.

        Raises:
            OverloadedError: they do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        deadline = now + timeout_seconds
        line = self._behind if background else self._front
        jobs = [_Job(errand, loop.create_future(), now, deadline, line) for errand in errands]
        self._accept(jobs, line)
        self._callers += 1
        self._no_callers.clear()
        alarm = loop.call_later(timeout_seconds, self._expire, jobs, line)
        vigil = Vigil(loop, left, lambda: self._leave(jobs, line)) if left is not None else None
        try:
            return [await job.future for job in jobs]
        except asyncio.CancelledError:
            self._abandon(jobs, line)
            raise
        finally:
            alarm.cancel()
            if vigil is not None:
                vigil.end()
            self._callers -= 1
            if not self._callers:
                self._no_callers.set()

    # On the event loop.

    def _accept(self, jobs: list[_Job], line: _Line) -> None:
        with self._workers.condition:
            if self._closed:
                raise ShuttingDownError(
                    "The service is shutting down. Send this to another instance."
                )
            if line.depth + len(jobs) > self._capacity:
                raise OverloadedError(
                    f"{line.depth} pictures wait already and {len(jobs)} more do not fit into the queue of "
                    f"{self._capacity}. Try again in a moment."
                )
            if self._pool is None:
                line.waiting.extend(jobs)
                self._workers.condition.notify(len(jobs))
            else:
                line.preparing += len(jobs)
        if self._pool is not None:
            for job in jobs:
                self._pool.submit(self._prepare_ahead, job)

    def _expire(self, jobs: list[_Job], line: _Line) -> None:
        late = [(job, _deadline_error(job)) for job in jobs]
        self._settle(late)
        self._withdraw(line)

    def _leave(self, jobs: list[_Job], line: _Line) -> None:
        self._settle([(job, ClientLeftError("The client closed its connection.")) for job in jobs])
        self._withdraw(line)

    def _abandon(self, jobs: list[_Job], line: _Line) -> None:
        for job in jobs:
            if job.future.cancel() or job.future.cancelled():
                self._metrics.outcome["abandoned"].inc()
        self._withdraw(line)

    def _withdraw(self, line: _Line) -> None:
        """Free the places in the line of those who got their answer otherwise or left."""
        with self._workers.condition:
            alive = [job for job in line.waiting if not job.future.done()]
            line.waiting.clear()
            line.waiting.extend(alive)

    def _settle(self, outcomes: Sequence[tuple[_Job, Answer[Any] | FovealError]]) -> None:
        """The only place that answers a caller, always on the event loop, so that no future is settled twice."""
        for job, outcome in outcomes:
            if job.future.done():
                continue
            job.future.set_result(outcome)
            self._metrics.outcome[_outcome_name(outcome)].inc()

    # Called by the workers with the condition held.

    def ripe(self, now: float) -> list[Ripe]:
        if not self._idle:
            return []
        offers = []
        if front := self._front.waiting:
            full = len(front) >= self.largest or self._closed
            at = front[0].accepted_at + (0.0 if full else self._max_delay)
            offers.append(Ripe(yields=False, at=at, behind=False))
        if behind := self._behind.waiting:
            at = behind[0].accepted_at
            offers.append(Ripe(yields=now - at < PATIENCE_SECONDS, at=at, behind=True))
        return offers

    def take(self, workers: int, *, behind: bool, alone: bool) -> Callable[[], None]:
        queue = (self._behind if behind else self._front).waiting
        waiting = len(queue)
        share = math.ceil(waiting / min(workers, self._instances))
        if behind:
            size = min(self.largest, share, self._behind_largest)
        else:
            size = min(self.largest, waiting if self._max_delay else share)
        jobs = [queue.popleft() for _ in range(size)]
        instance = self._idle.pop()
        self.batches_taken += 1
        self._metrics.closed[self._why_closed(size, waiting)].inc()
        lone = alone and waiting == 1 and not behind
        run = self._wide if self._wide is not None and lone else instance
        return lambda: self._run_batch(run, jobs, instance)

    def _why_closed(self, size: int, waiting: int) -> str:
        if size == self.largest:
            return "full"
        if size < waiting:
            return "shared"
        return "delay" if self._max_delay else "drained"

    # On worker threads.

    def _run_batch(self, run: Run, jobs: list[_Job], instance: Run) -> None:
        began = time.perf_counter()
        try:
            ready = [job for job in jobs if self._is_wanted(job) and self._prepare(job)]
            ready = [job for job in ready if self._is_wanted(job)]
            finished = list(self._run_or_bisect(run, ready)) if ready else []
        finally:
            with self._workers.condition:
                behind = jobs[0].line is self._behind
                if behind:
                    pace = (time.perf_counter() - began) / len(jobs)
                    self._behind_largest = max(1, int(BEHIND_SECONDS / max(pace, 1e-6)))
                self._idle.append(instance)
                self._workers.run_ended(behind=behind)
        if self._pool is None:
            self._finish(finished)
        elif finished:
            self._pool.submit(self._finish, finished)

    def _is_wanted(self, job: _Job) -> bool:
        if job.future.done():
            return False
        if job.deadline > time.perf_counter():
            return True
        self._answer([(job, _deadline_error(job))])
        return False

    def _prepare_ahead(self, job: _Job) -> None:
        wanted = self._is_wanted(job) and self._prepare(job)
        with self._workers.condition:
            job.line.preparing -= 1
            if wanted:
                job.line.waiting.append(job)
                self._workers.condition.notify()

    def _prepare(self, job: _Job) -> bool:
        """Make the job's tensor; a job that can not be prepared is answered at once, ahead of its neighbours' run."""
        if job.tensor is not None:
            return True
        began = time.perf_counter()
        try:
            job.tensor, job.aside = job.errand.prepare()
        except FovealError as error:
            self._answer([(job, _without_frames(error))])
            return False
        except Exception:  # a fault of ours in one errand must not take its neighbours along
            log.exception("preparing a picture failed")
            self._answer([(job, InferenceError("The picture could not be prepared."))])
            return False
        job.trace.decode = time.perf_counter() - began
        return True

    def _run_or_bisect(
        self, run: Run, jobs: list[_Job]
    ) -> Iterator[tuple[_Job, Outputs | FovealError]]:
        """Run a batch; one that fails is halved until what is poisonous stands alone."""
        began = time.perf_counter()
        try:
            room = run.stage(len(jobs)) if self._stages and isinstance(run, Staged) else None
            tensors = [job.tensor for job in jobs if job.tensor is not None]
            outputs = run(np.stack(tensors, out=room))
        except Exception as error:  # ONNX Runtime raises untyped errors
            if len(jobs) == 1:
                log.exception("the network failed on a picture")
                yield jobs[0], InferenceError(f"The network failed on this picture: {error}")
                return
            log.warning("a batch of %d failed and is bisected: %s", len(jobs), error)
            middle = len(jobs) // 2
            yield from self._run_or_bisect(run, jobs[:middle])
            yield from self._run_or_bisect(run, jobs[middle:])
            return
        seconds = time.perf_counter() - began
        self._count_batch(len(jobs))
        for index, job in enumerate(jobs):
            job.trace.batch_size = len(jobs)
            job.trace.infer = seconds
            job.trace.queue = max(0.0, began - job.accepted_at - job.trace.decode)
            yield job, {name: rows[index] for name, rows in outputs.items()}

    def _count_batch(self, size: int) -> None:
        self.batches_run += 1
        self._metrics.batch_size.observe(size)
        self._metrics.macs.inc(self._macs * size)

    def _finish(self, rows: list[tuple[_Job, Outputs | FovealError]]) -> None:
        outcomes = [
            (job, row if isinstance(row, FovealError) else self._head(job, row))
            for job, row in rows
        ]
        if outcomes:
            self._answer(outcomes)

    def _head(self, job: _Job, outputs: Outputs) -> Answer[Any] | FovealError:
        began = time.perf_counter()
        try:
            value = job.errand.finish(outputs, job.aside)
        except FovealError as error:
            return _without_frames(error)
        except Exception:  # a fault of ours in one head must not take its neighbours along
            log.exception("a head failed")
            return InferenceError("The network ran, but its output could not be read.")
        job.trace.head = time.perf_counter() - began
        for stage, histogram in self._metrics.stage.items():
            histogram.observe(getattr(job.trace, stage))
        return Answer(value, job.trace)

    def _answer(self, outcomes: list[tuple[_Job, Answer[Any] | FovealError]]) -> None:
        """Carry a whole batch of outcomes to the event loop in one hop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _without_frames(error: FovealError) -> FovealError:
    """Cut an error off from where it was raised, which no client is told.

    Those frames hold the job and its picture, and the job holds the error: only the garbage collector would part them.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _deadline_error(job: _Job) -> DeadlineError:
    allowed = (job.deadline - job.accepted_at) * 1e3
    return DeadlineError(f"The answer was not ready within {allowed:.0f} ms.")


def _outcome_name(outcome: "Answer[Any] | FovealError") -> str:
    if isinstance(outcome, Answer):
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
