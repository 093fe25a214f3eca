"""One model's queue: jobs come in, workers take whole batches out, and each caller is answered exactly once."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from service.errors import (
    ClientLeftError,
    FovealError,
    InferenceError,
    NotReadyError,
    ShuttingDownError,
    StuckError,
)
from service.logs import LOGGER
from service.metrics import VersionMetrics
from service.model_statistics import VersionStatistics
from service.runtime.batch_spans import (
    note_accepted,
    note_left,
    traced_batch,
)
from service.runtime.call_outcomes import CallOutcomes
from service.runtime.call_watch import CallWatch, Disconnected
from service.runtime.callers import Callers
from service.runtime.entry import Entry, Line, Outcome, deadline_error
from service.runtime.faults import IsLost, never_lost
from service.runtime.instances import FIRST_RUN_SECONDS, STUCK_SECONDS, Instances, is_bound
from service.runtime.job import Job, JobResult, Run
from service.runtime.lines import Lines
from service.runtime.stages import Rows, Stages
from service.runtime.stuck_runs import StuckRuns
from service.runtime.turns import Turn
from service.runtime.workers import ReadyBatch, Workers
from service.spans import place

log = logging.getLogger(LOGGER)

T = TypeVar("T")


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
        first_run_seconds: the same for a run before it is known what is usual.
        rests: whether the network is not run for some time after runs that did not end, where other lanes need the
            threads too; see `BackOff`. Of runs that wait for another process the next one may fare better.
        stuck: the model's runs that did not end, where another queue runs it too; None: none does.
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
        first_run_seconds: float = FIRST_RUN_SECONDS,
        rests: bool = True,
        stuck: StuckRuns | None = None,
        on_broken: Callable[[str], None] | None = None,
        on_mended: Callable[[str], None] | None = None,
        device: str = "",
        on_device_lost: Callable[[str], None] | None = None,
        is_lost: IsLost = never_lost,
    ) -> None:
        self.batches_taken = 0
        self.used_at = workers.clock()
        """When the last request came, in seconds of the workers' clock; health checks are none."""
        self._instances = Instances(
            runs,
            wide=wide,
            stuck_seconds=stuck_seconds,
            first_run_seconds=first_run_seconds,
            stuck=stuck,
            is_short=lambda: workers.is_short,
        )
        self._stuck = stuck
        self._rests = rests
        self._workers = workers
        self._clock = workers.clock
        self._metrics = metrics
        self._statistics = statistics or VersionStatistics()
        self._callers = Callers(metrics, self._statistics)
        self._cores = cores
        self._on_broken = on_broken
        self._on_mended = on_mended
        self._device = device
        self._traces = False
        self._on_device_lost = on_device_lost
        self._pool = pool
        self._stages = Stages(
            workers.clock,
            metrics,
            self._statistics,
            macs=macs,
            pinned=self._instances.pinned,
            answer=self._callers.answer,
            is_lost=is_lost,
        )
        self._lines = Lines(largest=largest, capacity=capacity, max_delay_seconds=max_delay_seconds)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def largest(self) -> int:
        """How many images a batch has at most."""
        return self._lines.largest

    @property
    def broken(self) -> str:
        """Why the network runs no more; empty where it does."""
        return self._instances.broken

    @property
    def rests(self) -> bool:
        """Whether the network is not run for some time, because its runs did not end."""
        return self._instances.rest_seconds(self._clock()) > 0

    @property
    def answers(self) -> int:
        """How many jobs were answered with a result."""
        return self._callers.answers

    @property
    def depth(self) -> int:
        """How many jobs wait in both lines."""
        return self._lines.depth

    @property
    def batches_tried(self) -> int:
        """How many batches the network has begun to run."""
        return self._stages.batches_tried

    @property
    def batches_run(self) -> int:
        """How many batches the network has run."""
        return self._stages.batches_run

    @property
    def pace(self) -> float | None:
        """Seconds of an image in the network, averaged; None before the first run."""
        return self._stages.pace

    @property
    def instances(self) -> int:
        """How many batches may run at once."""
        return self._instances.count

    @property
    def cores(self) -> int:
        """How many cores each of them occupies."""
        return self._cores

    @property
    def running(self) -> bool:
        """Whether a batch runs, or is prepared."""
        return self._instances.running

    @property
    def busy(self) -> bool:
        """Whether a batch runs, or something waits for one."""
        return bool(self.depth) or self.running

    def open(self) -> None:
        """Begin to accept jobs; called on the event loop whose callers get the answers."""
        self._loop = asyncio.get_running_loop()
        self._callers.open()
        with self._workers.condition:
            self._instances.look(self._clock())
        self._workers.attach(self, cores=self._cores, model=self._stuck)

    async def close(self) -> None:
        """Accept nothing more and return when everything accepted has been answered."""
        with self._workers.condition:
            self._closed = True
            self._workers.condition.notify_all()
        await self._callers.all_left()
        self._workers.detach(self)
        with self._workers.condition:
            self._instances.close()

    async def submit(
        self,
        jobs: Sequence[Job[Any, T]],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
        is_request: bool = True,
        bounded: bool = False,
        spreads: bool = False,
        waits_since: float | None = None,
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
            spreads: whether a job of low priority may run on all cores where nothing else runs, as all others may.
            waits_since: since when jobs of low priority have yielded to others, by the workers' clock; None: since now.

        Raises:
            OverloadedError: the jobs do not all fit into the queue.
            ShuttingDownError: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        if is_request:
            self.used_at = now
        line = self._lines.low_priority if low_priority else self._lines.normal
        until = now + timeout_seconds
        call = CallOutcomes[Entry, Outcome](len(jobs)) if len(jobs) > 1 else None
        since = now if waits_since is None else waits_since
        entries = [
            Entry(job, loop.create_future(), now, until, line, since, call=call, spreads=spreads)
            for job in jobs
        ]
        noted = is_request and self._note_accepted(entries)
        self._accept_counted(entries, line, bounded=bounded)
        self._callers.enter()
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
            self._callers.count(outcomes, self._clock() - now)
            return outcomes
        finally:
            watch.end()
            if noted:
                note_left(entries, self._clock())
            self._callers.leave()

    # On the event loop.

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
                raise self._broken_error()
            if not bounded:
                self._lines.require_room(line, len(entries))
            if self._pool is None:
                line.waiting.extend(entries)
                self._workers.condition.notify(len(entries))
            else:
                line.preparing += len(entries)
        if self._pool is not None:
            for entry in entries:
                self._pool.submit(self._prepare_ahead, entry)

    def _expire(self, entries: list[Entry], line: Line) -> None:
        late = [(entry, deadline_error(entry)) for entry in entries]
        self._callers.settle(late)
        self._withdraw(line)

    def _drop_disconnected(self, entries: list[Entry], line: Line) -> None:
        self._callers.settle(
            [(entry, ClientLeftError("The client closed its connection.")) for entry in entries]
        )
        self._withdraw(line)

    def _abandon(self, entries: list[Entry], line: Line, since: float) -> None:
        self._callers.abandon(entries)
        self._withdraw(line)
        self._statistics.failed(self._clock() - since)

    def _withdraw(self, line: Line) -> None:
        """Remove from the line what was answered in the meantime, which makes room for others."""
        with self._workers.condition:
            line.keep_unanswered()

    # Called by the workers with the condition held.

    def ready_batches(self, now: float, *, low_priority_yields: bool = False) -> list[ReadyBatch]:
        if not self._instances.any_free:
            return []
        return self._lines.ready_batches(
            now, closed=self._closed, low_priority_yields=low_priority_yields
        )

    def take(self, turn: Turn, workers: int, *, alone: bool) -> Callable[[], None]:
        entries, why_closed = self._lines.pop(
            low_priority=turn.low_priority, runs=min(workers, self._instances.count)
        )
        self.batches_taken += 1
        self._metrics.closed[why_closed].inc()
        may_spread = not turn.low_priority or entries[0].spreads
        is_only = len(entries) == 1 and may_spread and not self._lines.normal.waiting
        run = self._instances.take(turn, lone=alone and is_only)
        turn.jobs, turn.size = entries, len(entries)
        return lambda: self._run_batch(run, entries, turn)

    # Called for the watchdog: what is stuck, and what becomes of it.

    def progress(self, turn: Turn) -> object:
        traces = [entry.trace for entry in turn.jobs]
        done = sum(entry.is_answered for entry in turn.jobs)
        decoded, read = sum(one.decode for one in traces), sum(one.head for one in traces)
        return turn.since, turn.running, turn.ended, done, decoded, read

    def limit_seconds(self, turn: Turn) -> float:
        return self._instances.limit_seconds(turn, self._stages.pace)

    def overdue_seconds(self, turn: Turn) -> float:
        return self._instances.overdue_seconds(turn, self._stages.pace)

    def look(self) -> None:
        with self._workers.condition:
            reason, was_free = self.broken, self._instances.any_free
            self._instances.look(self._clock())
            if self._instances.any_free and not was_free:
                self._workers.condition.notify_all()
        if self.broken and self.broken != reason:
            self._refuse_all()
        elif reason and not self.broken and self._on_mended is not None:
            self._on_mended(reason)

    def give_up(self, turn: Turn, thread: int) -> None:
        now, limit_seconds = self._clock(), self.limit_seconds(turn)
        self._metrics.stuck.inc()
        self._instances.give_up(turn, thread, now)
        if self._rests and self._workers.are_shared and self.is_out(turn):
            self._instances.back_off(now, limit_seconds)

    def answer(self, turn: Turn, seconds: float) -> None:
        log.error(
            "%s: a batch did not end for %.0f s and is given up", self._metrics.model, seconds
        )
        stuck = StuckError(
            f"The batch of this image did not end within {seconds:.0f} s and was given up. "
            "This image, or one that ran beside it, may be the cause: do not repeat it unchanged."
        )
        self._callers.settle([(entry, stuck) for entry in turn.jobs])
        self._refuse_all()

    def is_out(self, turn: Turn) -> bool:
        return self._instances.is_out(turn)

    def abandon(self, turn: Turn) -> None:
        """End with the process where the run has a GPU's memory: only the end of a process ends a kernel.

        Another instance beside it could not be trusted. To allocate memory, to free it and to capture a graph wait for
        what runs on the device, and no other batch runs while a capture waits.
        """
        if self._on_device_lost is None or not is_bound(turn.instance):
            return
        reason = "a run does not end, although it was stopped"
        with self._workers.condition:
            self._instances.lose_device(reason)
        self._end_with_device(f"{self._metrics.model}: {reason}")

    def _refuse_all(self) -> None:
        """Answer what waits for a network that runs no more, unless a run has come back meanwhile."""
        reason = self.broken
        if not reason:
            return
        for line in (self._lines.normal, self._lines.low_priority):
            self._callers.settle([(entry, self._broken_error()) for entry in line.waiting])
            self._withdraw(line)
        if self._on_broken is not None:
            self._on_broken(reason)

    def _broken_error(self) -> NotReadyError:
        error = NotReadyError(f"The network {self.broken}.")
        if rest := self._instances.rest_seconds(self._clock()):
            error.retry_after_seconds = math.ceil(rest)
        return error

    def _end_with_device(self, reason: str) -> None:
        self._refuse_all()
        if self._on_device_lost is not None:
            self._on_device_lost(reason)

    # On worker threads.

    def _run_batch(self, run: Run, entries: list[Entry], turn: Turn) -> None:
        rows, mended = Rows(), ""
        batch = traced_batch(entries, turn, self._clock) if self._traces else None
        try:
            rows = self._stages.rows(run, entries, turn, batch)
        except BaseException:
            self._callers.answer(
                [(entry, InferenceError("The network failed.")) for entry in entries]
            )
            raise
        finally:
            with self._workers.condition:
                turn.running = 0
                if turn.given_up:
                    mended = self._instances.come_back(turn, self._clock())
                else:
                    if turn.low_priority or self._stages.fits is not None:
                        self._learn(turn, len(entries))
                    self._instances.put_back(turn)
                    self._workers.run_ended(turn)
                lost = "" if self.broken else self._stages.device_lost
                if lost:
                    self._instances.lose_device(lost)
            if mended and self._on_mended is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._on_mended, mended)
        if lost and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_with_device, lost)
        if self._pool is None:
            self._stages.finish(rows, batch)
        elif rows:
            self._pool.submit(self._stages.finish, rows, batch)

    def _learn(self, turn: Turn, size: int) -> None:
        """Remember how large the next batches may be, with the condition held."""
        if turn.low_priority:
            self._lines.learn_pace((self._clock() - turn.began) / size)
        if self._stages.fits is not None:
            self._lines.largest = min(self._lines.largest, self._stages.fits)

    def _prepare_ahead(self, entry: Entry) -> None:
        wanted = False
        try:
            wanted = self._stages.prepare_ahead(entry)
        except BaseException:  # the executor keeps it where nobody looks
            log.exception("An image could not be prepared, because its thread failed.")
            self._callers.answer([(entry, InferenceError("The image could not be prepared."))])
        with self._workers.condition:
            entry.line.preparing -= 1
            if wanted and not self.broken:
                entry.line.waiting.append(entry)
                self._workers.condition.notify()
                return
        if wanted:
            self._callers.answer([(entry, self._broken_error())])
