"""One model's queue: jobs come in, workers take whole batches out, and each caller is answered exactly once."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar
from weakref import WeakMethod

from service.errors import (
    ClientLeftError,
    FovealError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    ShuttingDownError,
    StuckError,
)
from service.logs import LOGGER
from service.metrics import VersionMetrics
from service.model_statistics import VersionStatistics
from service.runtime.batch_spans import (
    Head,
    Prepare,
    TracedBatch,
    note_accepted,
    note_left,
    noted_preparation,
    traced_batch,
)
from service.runtime.call_watch import CallWatch, Disconnected
from service.runtime.entry import Entry, Line, Outcome, deadline_error, outcome_name
from service.runtime.faults import IsLost, never_lost
from service.runtime.job import Job, JobResult, PinnedInput, Run, Stoppable
from service.runtime.stages import HEAD_FAILED, Rows, Stages
from service.runtime.turns import Turn
from service.runtime.workers import ReadyBatch, Workers
from service.spans import place

log = logging.getLogger(LOGGER)

T = TypeVar("T")

LOW_PRIORITY_SECONDS = 0.01
"""How long a low-priority batch may occupy a worker: a delay of a single image that nobody notices."""
PATIENCE_SECONDS = 1.0
"""How long a low-priority job yields to all others; then it takes its turn, so that it is slow but never starves."""


STUCK_SECONDS = 10.0
STUCK_TIMES = 20
"""A run is given up when it takes so many times what is usual, and no less than `STUCK_SECONDS`."""
FIRST_RUN_SECONDS = 60.0
"""The same before anything was measured: on some devices the first run still compiles."""
STEP_SECONDS = 60.0
"""How long the preparation of one image, or one head, may take before its thread is given up."""
MOST_STUCK = 2
"""So many runs of a network may be stuck at the same time; then it runs no more. Each of them keeps a core busy."""


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
        statistics: counts the requests and the runs of this version; None: they are not read.
        largest: images in a batch at most.
        capacity: jobs that may wait at most, in each of the two lines.
        wide: runs a single job on all cores; used while nothing else runs. None: `runs` do that too.
        max_delay_seconds: how long a batch may wait to fill.
        macs: multiply-accumulate operations per image, for the metric.
        pool: threads that prepare jobs before they are queued and finish them after the run. None: the worker that
            runs the batch does both.
        cores: how many cores each of `runs` occupies.
        stuck_seconds: a run is given up after so long, and after `STUCK_TIMES` times what is usual, whichever is later.
        on_broken: called with the reason, on the event loop, when the network runs no more.
        on_mended: called with that reason, on the event loop, when it runs again after all.
        device: where the network runs, for traces.
        on_device_lost: called with the reason, on the event loop, when the process can not use its GPU any more; also
            when a run with memory of its own does not end although it was stopped.
        is_lost: returns whether it can not, after a run that failed; blocking.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        workers: Workers,
        metrics: VersionMetrics,
        *,
        statistics: VersionStatistics | None = None,
        largest: int,
        capacity: int,
        wide: Run | None = None,
        max_delay_seconds: float = 0.0,
        macs: int = 0,
        pool: Executor | None = None,
        cores: int = 1,
        stuck_seconds: float = STUCK_SECONDS,
        on_broken: Callable[[str], None] | None = None,
        on_mended: Callable[[str], None] | None = None,
        device: str = "",
        on_device_lost: Callable[[str], None] | None = None,
        is_lost: IsLost = never_lost,
    ) -> None:
        self.largest = largest
        self.batches_taken = 0
        self.answers = 0
        """How many jobs were answered with a result."""
        self.used_at = workers.clock()
        """When the last request came, in seconds of the workers' clock; health checks are none."""
        self.broken = ""
        """Why the network runs no more; empty where it does."""
        self._idle = list(runs)
        self._wide = wide
        self._instances = len(runs)
        self._workers = workers
        self._clock = workers.clock
        self._metrics = metrics
        self._statistics = statistics or VersionStatistics()
        self._capacity = capacity
        self._max_delay = max_delay_seconds
        self._cores = cores
        self._stuck_seconds = stuck_seconds
        self._on_broken = on_broken
        self._on_mended = on_mended
        self._device = device
        self._traces = False
        self._on_device_lost = on_device_lost
        self._lost: set[Turn] = set()
        self._device_gone = False
        self._pool = pool
        pinned = any(isinstance(run, PinnedInput) for run in runs)  # here, since it takes 10 µs
        self._stages = Stages(
            workers.clock,
            metrics,
            self._statistics,
            macs=macs,
            pinned=pinned,
            answer=self._answer,
            is_lost=is_lost,
        )
        self._normal = Line()
        self._low_priority = Line()
        self._low_priority_largest = 1
        self._closed = self._let_go = False
        self._callers = 0
        self._no_callers = asyncio.Event()
        self._no_callers.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def depth(self) -> int:
        """How many jobs wait in both lines."""
        return self._normal.depth + self._low_priority.depth

    @property
    def batches_tried(self) -> int:
        """How many batches the network has begun to run."""
        return self._stages.batches_tried

    @property
    def batches_run(self) -> int:
        """How many batches the network has run."""
        return self._stages.batches_run

    @property
    def instances(self) -> int:
        """How many batches may run at once."""
        return self._instances

    @property
    def cores(self) -> int:
        """How many cores each of them occupies."""
        return self._cores

    @property
    def running(self) -> bool:
        """Whether a batch runs, or is prepared."""
        return len(self._idle) < self._instances

    @property
    def busy(self) -> bool:
        """Whether a batch runs, or something waits for one."""
        return bool(self.depth) or self.running

    def open(self) -> None:
        """Begin to accept jobs; called on the event loop whose callers get the answers."""
        self._loop = asyncio.get_running_loop()
        self._workers.attach(self, cores=self._cores)

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        with self._workers.condition:
            self._closed = True
            self._workers.condition.notify_all()
        await self._no_callers.wait()
        self._workers.detach(self)
        with self._workers.condition:
            self._let_go = True
            self._idle.clear()  # reference cycles would keep the network until the collector runs, if it does
            self._wide = None

    async def submit(
        self,
        jobs: Sequence[Job[Any, T]],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
        is_request: bool = True,
        bounded: bool = False,
    ) -> list[JobResult[T] | FovealError]:
        """Queue all jobs or none, and return their outcomes in order: each job's own result or own error.

        Jobs that have not run are dropped when the call is canceled, and when `disconnected` returns.

        Args:
            jobs: what to run.
            timeout_seconds: how long until jobs without a result are answered with a `DeadlineError`.
            disconnected: a coroutine function that returns when the caller has disconnected.
            low_priority: whether the jobs wait in the low-priority line.
            is_request: whether the network is used by it: a health check or a shadow keeps no model in memory.
            bounded: whether the caller itself has only a few jobs in flight, as a fan-out does. They are queued though
                requests fill the line: a video that was accepted goes on.

        Raises:
            OverloadedError: the jobs do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        if is_request:
            self.used_at = now
        line = self._low_priority if low_priority else self._normal
        until = now + timeout_seconds
        entries = [Entry(job, loop.create_future(), now, until, line) for job in jobs]
        noted = is_request and self._note_accepted(entries)
        self._accept_counted(entries, line, bounded=bounded)
        self._callers += 1
        self._no_callers.clear()
        watch = CallWatch(
            loop,
            timeout_seconds,
            lambda: self._expire(entries, line),
            disconnected,
            lambda: self._drop_disconnected(entries, line),
        )
        try:
            outcomes = [await entry.future for entry in entries]
        except asyncio.CancelledError:
            self._abandon(entries, line, now)
            raise
        else:
            self._count(outcomes, self._clock() - now)
            return outcomes
        finally:
            watch.end()
            if noted:
                note_left(entries, self._clock())
            self._callers -= 1
            if not self._callers:
                self._no_callers.set()

    # On the event loop.

    def _count(self, outcomes: Sequence[Outcome], seconds: float) -> None:
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

    def _note_accepted(self, entries: list[Entry]) -> bool:
        """Note the jobs where they are those of a traced request, and return whether they are."""
        here = place()
        if here is None:
            return False
        self._traces = True
        note_accepted(entries, here, self._metrics, self._device)
        return True

    def _accept_counted(self, entries: list[Entry], line: Line, *, bounded: bool) -> None:
        try:
            self._accept(entries, line, bounded=bounded)
        except FovealError:
            self._statistics.failed(0.0)
            raise

    def _accept(self, entries: list[Entry], line: Line, *, bounded: bool) -> None:
        with self._workers.condition:
            if self._closed:
                raise ShuttingDownError(
                    "This queue is closed: the service is shutting down, or the model was removed. "
                    "Send the request again."
                )
            if self.broken:
                raise _broken_error(self.broken)
            if not bounded and line.depth + len(entries) > self._capacity:
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

    def _expire(self, entries: list[Entry], line: Line) -> None:
        late = [(entry, deadline_error(entry)) for entry in entries]
        self._settle(late)
        self._withdraw(line)

    def _drop_disconnected(self, entries: list[Entry], line: Line) -> None:
        self._settle(
            [(entry, ClientLeftError("The client closed its connection.")) for entry in entries]
        )
        self._withdraw(line)

    def _abandon(self, entries: list[Entry], line: Line, since: float) -> None:
        for entry in entries:
            if entry.future.cancel() or entry.future.cancelled():
                self._metrics.outcome["abandoned"].inc()
        self._withdraw(line)
        self._statistics.failed(self._clock() - since)

    def _withdraw(self, line: Line) -> None:
        """Remove from the line what was answered in the meantime, which makes room for others."""
        with self._workers.condition:
            line.keep_unanswered()

    def _settle(self, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        """Answer callers: the only place that does, always on the event loop, so that no future is settled twice."""
        answers = 0
        for entry, outcome in outcomes:
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

    # Called by the workers with the condition held.

    def ready_batches(self, now: float) -> list[ReadyBatch]:
        if not self._idle or self.broken:
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

    def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
        low_priority = turn.low_priority
        queue = (self._low_priority if low_priority else self._normal).waiting
        waiting = len(queue)
        share = 1 if waiting == 1 else math.ceil(waiting / min(workers, self._instances))
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
        turn.jobs, turn.instance = entries, instance
        return lambda: self._run_batch(run, entries, turn)

    def _why_closed(self, size: int, waiting: int) -> str:
        if size == self.largest:
            return "full"
        if size < waiting:
            return "shared"
        return "delay" if self._max_delay else "drained"

    # Called for the watchdog: what is stuck, and what becomes of it.

    def progress(self, turn: Turn) -> object:
        traces = [entry.trace for entry in turn.jobs]
        done = sum(entry.future.done() for entry in turn.jobs)
        decoded, read = sum(one.decode for one in traces), sum(one.head for one in traces)
        return turn.since, turn.running, turn.ended, done, decoded, read

    def limit_seconds(self, turn: Turn) -> float:
        if not turn.running:
            return STEP_SECONDS
        pace = self._stages.pace
        if pace is None:
            return max(FIRST_RUN_SECONDS, self._stuck_seconds)
        return max(self._stuck_seconds, STUCK_TIMES * pace * turn.running)

    def give_up(self, turn: Turn, thread: int) -> None:
        self._metrics.stuck.inc()
        instance: Run = turn.instance
        if turn.ended:  # only its answers are late
            return
        if not turn.running:  # the image is stuck before the network
            self._idle.append(instance)
            return
        self._lost.add(turn)
        for run in (instance, self._wide):
            if isinstance(run, Stoppable):
                run.stop(thread)
        if _is_bound(instance):
            self._instances -= 1
        else:
            self._idle.append(instance)
        if len(self._lost) >= MOST_STUCK or not self._instances:
            self.broken = (
                f"has {len(self._lost)} runs that do not end and keep their threads busy; "
                "restart the service to serve it again"
            )

    def _came_back(self, turn: Turn) -> None:
        """Count again on what was given up, with the condition held: its thread has come back after all."""
        if turn not in self._lost:
            return
        self._lost.remove(turn)
        if self._device_gone:
            return
        reason, self.broken = self.broken, ""
        if reason and self._on_mended is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_mended, reason)
        if _is_bound(turn.instance) and not self._let_go:
            self._instances += 1
            self._idle.append(turn.instance)

    def answer(self, turn: Turn, seconds: float) -> None:
        log.error(
            "%s: a batch did not end for %.0f s and is given up", self._metrics.model, seconds
        )
        stuck = StuckError(
            f"The batch of this image did not end within {seconds:.0f} s and was given up. "
            "This image, or one that ran beside it, may be the cause: do not repeat it unchanged."
        )
        self._settle([(entry, stuck) for entry in turn.jobs])
        self._refuse_all()

    def is_out(self, turn: Turn) -> bool:
        return turn in self._lost

    def abandon(self, turn: Turn) -> None:
        """End with the process where the run has a GPU's memory: only the end of a process ends a kernel.

        Another instance beside it could not be trusted. To allocate memory, to free it and to capture a graph wait for
        what runs on the device, and no other batch runs while a capture waits.
        """
        if self._on_device_lost is None or not _is_bound(turn.instance):
            return
        reason = "a run does not end, although it was stopped"
        with self._workers.condition:
            self._device_gone = True
            self.broken = f"ran on a GPU that failed ({reason})"
        self._end_with_device(f"{self._metrics.model}: {reason}")

    def _refuse_all(self) -> None:
        """Answer what waits for a network that runs no more, unless a run has come back meanwhile."""
        reason = self.broken
        if not reason:
            return
        for line in (self._normal, self._low_priority):
            self._settle([(entry, _broken_error(reason)) for entry in line.waiting])
            self._withdraw(line)
        if self._on_broken is not None:
            self._on_broken(reason)

    def _end_with_device(self, reason: str) -> None:
        self._refuse_all()
        if self._on_device_lost is not None:
            self._on_device_lost(reason)

    # On worker threads.

    def _run_batch(self, run: Run, entries: list[Entry], turn: Turn) -> None:
        rows = Rows()
        batch = traced_batch(entries, turn, self._clock) if self._traces else None
        try:
            rows = self._rows(run, entries, turn, batch)
        except BaseException:
            self._answer([(entry, InferenceError("The network failed.")) for entry in entries])
            raise
        finally:
            with self._workers.condition:
                turn.running = 0
                if turn.given_up:
                    self._came_back(turn)
                else:
                    if turn.low_priority or self._stages.fits is not None:
                        self._learn(turn, len(entries))
                    if not self._let_go:
                        self._idle.append(turn.instance)
                    self._workers.run_ended(turn)
                lost = "" if self.broken else self._stages.device_lost
                if lost:
                    self.broken = f"ran on a GPU that failed ({lost})"
        if lost and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_with_device, lost)
        if self._pool is None:
            self._finish(rows, batch)
        elif rows:
            self._pool.submit(self._finish, rows, batch)

    def _rows(self, run: Run, entries: list[Entry], turn: Turn, batch: TracedBatch | None) -> Rows:
        """Prepare the jobs that are still wanted, run them, and return what each has of the outputs."""
        prepare: Prepare = self._stages.prepare
        if batch is not None:
            prepare = batch.prepared_by(prepare)
        ready = [entry for entry in entries if self._is_wanted(entry) and prepare(entry)]
        ready = [entry for entry in ready if self._is_wanted(entry)]
        if not ready or turn.given_up:
            return Rows()
        rows = list(self._stages.run(run, ready, turn))
        if batch is not None:
            batch.ran(rows)
        return rows

    def _learn(self, turn: Turn, size: int) -> None:
        """Remember how large the next batches may be, with the condition held."""
        if turn.low_priority:
            pace = (self._clock() - turn.began) / size
            self._low_priority_largest = max(1, int(LOW_PRIORITY_SECONDS / max(pace, 1e-6)))
        if self._stages.fits is not None:
            self.largest = min(self.largest, self._stages.fits)

    def _is_wanted(self, entry: Entry) -> bool:
        if entry.future.done():
            return False
        if entry.deadline > self._clock():
            return True
        self._answer([(entry, deadline_error(entry))])
        return False

    def _prepare_ahead(self, entry: Entry) -> None:
        wanted = False
        try:
            prepare: Prepare = self._stages.prepare
            if entry.traced is not None:
                prepare = noted_preparation(prepare, self._clock)
            wanted = self._is_wanted(entry) and prepare(entry)
        except BaseException:  # the executor keeps it where nobody looks
            log.exception("An image could not be prepared, because its thread failed.")
            self._answer([(entry, InferenceError("The image could not be prepared."))])
        with self._workers.condition:
            entry.line.preparing -= 1
            reason = self.broken
            if wanted and not reason:
                entry.line.waiting.append(entry)
                self._workers.condition.notify()
                return
        if wanted:
            self._answer([(entry, _broken_error(reason))])

    def _finish(self, rows: Rows, batch: TracedBatch | None) -> None:
        head: Head = self._stages.head
        if batch is not None:
            head = batch.read_by(head, self._metrics)
        try:
            outcomes = [
                (entry, row if isinstance(row, FovealError) else head(entry, row))
                for entry, row in rows
            ]
        except BaseException:  # a thread that ends, or an executor that keeps it where nobody looks
            self._answer([(entry, InferenceError(HEAD_FAILED)) for entry, _ in rows])
            raise
        if outcomes:
            self._statistics.finished(
                [(entry.trace.batch_size, entry.trace.head) for entry, _ in rows]
            )
            if batch is not None:
                batch.end()
            self._answer(outcomes)

    def _answer(self, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        """Hand the outcomes of a whole batch to the event loop in one call."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle, outcomes)


def _broken_error(reason: str) -> NotReadyError:
    return NotReadyError(f"The network {reason}.")


def _is_bound(run: Run) -> bool:
    """Return whether a run has memory of its own, so that no second thread can use it."""
    return isinstance(run, PinnedInput)
