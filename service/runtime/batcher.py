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
from service.runtime.errand import Answer, Errand, Outputs, Run, Tensor, Trace
from service.runtime.vigil import Vigil
from service.runtime.workers import Workers

log = logging.getLogger(LOGGER)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    errand: Errand[Any, Any]
    future: "asyncio.Future[Answer[Any] | FovealError]"
    accepted_at: float
    deadline: float
    trace: Trace = field(default_factory=Trace)
    tensor: Tensor | None = None
    aside: object = None


class Batcher:
    """Dynamic batching by pull, with zero added delay.

    A worker that is free takes at once what is queued: its fair share, up to `largest`. While all are busy the queue
    grows into the next batches. Promises: an accepted errand is answered exactly once, by its result, its error, its
    deadline or the shutdown; a caller that leaves is dropped before the run; an errand that fails fails alone. Never
    blocks the event loop, never drops what it accepted.

    Args:
        runs: one callable an instance; a batch needs a free one. The same callable may stand there several times.
        workers: the threads that run batches.
        metrics: the model's series.
        largest: pictures in a batch at most.
        capacity: errands that may wait at most.
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
        self.batches_run = 0
        self._idle = list(runs)
        self._wide = wide
        self._instances = len(runs)
        self._workers = workers
        self._metrics = metrics
        self._capacity = capacity
        self._max_delay = max_delay_seconds
        self._macs = macs
        self._pool = pool
        self._queue: deque[_Job] = deque()
        self._preparing = 0
        self._closed = False
        self._callers = 0
        self._no_callers = asyncio.Event()
        self._no_callers.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def depth(self) -> int:
        """How many errands wait."""
        return len(self._queue) + self._preparing

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
    ) -> list[Answer[T] | FovealError]:
        """Queue all errands or none, and return their outcomes in order.

        An outcome is the errand's own answer or own error. What has not run yet is dropped when the call is cancelled,
        and when `left` returns, which says that the caller is gone.

        Raises:
            OverloadedError: they do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        jobs = [
            _Job(errand, loop.create_future(), now, now + timeout_seconds) for errand in errands
        ]
        self._accept(jobs)
        self._callers += 1
        self._no_callers.clear()
        alarm = loop.call_later(timeout_seconds, self._expire, jobs)
        vigil = Vigil(loop, left, lambda: self._leave(jobs)) if left is not None else None
        try:
            return [await job.future for job in jobs]
        except asyncio.CancelledError:
            self._abandon(jobs)
            raise
        finally:
            alarm.cancel()
            if vigil is not None:
                vigil.end()
            self._callers -= 1
            if not self._callers:
                self._no_callers.set()

    # On the event loop.

    def _accept(self, jobs: list[_Job]) -> None:
        with self._workers.condition:
            if self._closed:
                raise ShuttingDownError(
                    "The service is shutting down. Send this to another instance."
                )
            if self.depth + len(jobs) > self._capacity:
                raise OverloadedError(
                    f"{self.depth} pictures wait already and {len(jobs)} more do not fit into the queue of "
                    f"{self._capacity}. Try again in a moment."
                )
            if self._pool is None:
                self._queue.extend(jobs)
                self._workers.condition.notify(len(jobs))
            else:
                self._preparing += len(jobs)
        if self._pool is not None:
            for job in jobs:
                self._pool.submit(self._prepare_ahead, job)

    def _expire(self, jobs: list[_Job]) -> None:
        late = [(job, _deadline_error(job)) for job in jobs]
        self._settle(late)
        self._withdraw()

    def _leave(self, jobs: list[_Job]) -> None:
        self._settle([(job, ClientLeftError("The client closed its connection.")) for job in jobs])
        self._withdraw()

    def _abandon(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.future.cancel() or job.future.cancelled():
                self._metrics.outcome["abandoned"].inc()
        self._withdraw()

    def _withdraw(self) -> None:
        """Free the places in the queue of those who got their answer otherwise or left."""
        with self._workers.condition:
            alive = [job for job in self._queue if not job.future.done()]
            self._queue.clear()
            self._queue.extend(alive)

    def _settle(self, outcomes: Sequence[tuple[_Job, Answer[Any] | FovealError]]) -> None:
        """The only place that answers a caller, always on the event loop, so that no future is settled twice."""
        for job, outcome in outcomes:
            if job.future.done():
                continue
            job.future.set_result(outcome)
            self._metrics.outcome[_outcome_name(outcome)].inc()

    # Called by the workers with the condition held.

    def ripe_at(self) -> float | None:
        if not self._queue or not self._idle:
            return None
        if len(self._queue) >= self.largest or self._closed:
            return self._queue[0].accepted_at
        return self._queue[0].accepted_at + self._max_delay

    def take(self, workers: int, *, alone: bool) -> Callable[[], None]:
        waiting = len(self._queue)
        share = math.ceil(waiting / min(workers, self._instances))
        size = min(self.largest, waiting if self._max_delay else share)
        jobs = [self._queue.popleft() for _ in range(size)]
        instance = self._idle.pop()
        self._metrics.closed[self._why_closed(size, waiting)].inc()
        run = self._wide if self._wide is not None and alone and waiting == 1 else instance
        return lambda: self._run_batch(run, jobs, instance)

    def _why_closed(self, size: int, waiting: int) -> str:
        if size == self.largest:
            return "full"
        if size < waiting:
            return "shared"
        return "delay" if self._max_delay else "drained"

    # On worker threads.

    def _run_batch(self, run: Run, jobs: list[_Job], instance: Run) -> None:
        try:
            ready = [job for job in jobs if self._is_wanted(job) and self._prepare(job)]
            ready = [job for job in ready if self._is_wanted(job)]
            finished = list(self._run_or_bisect(run, ready)) if ready else []
        finally:
            with self._workers.condition:
                self._idle.append(instance)
                self._workers.run_ended()
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
            self._preparing -= 1
            if wanted:
                self._queue.append(job)
                self._workers.condition.notify()

    def _prepare(self, job: _Job) -> bool:
        """Make the job's tensor; a job that can not be prepared is answered at once, ahead of its neighbours' run."""
        if job.tensor is not None:
            return True
        began = time.perf_counter()
        try:
            job.tensor, job.aside = job.errand.prepare()
        except FovealError as error:
            self._answer([(job, error)])
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
            outputs = run(np.stack([job.tensor for job in jobs if job.tensor is not None]))
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
            return error
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
