"""What a worker does with the jobs of a batch: prepares them, runs the network, and reads each one's outputs."""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from service.errors import FovealError, InferenceError, UnavailableError, for_clients
from service.logs import LOGGER
from service.metrics import VersionMetrics
from service.model_statistics import VersionStatistics
from service.runtime.batch_spans import Head, Prepare, TracedBatch, noted_preparation, within
from service.runtime.entry import Entry, Outcome, deadline_error, without_frames
from service.runtime.faults import IsLost, is_out_of_memory, never_lost, reason_of
from service.runtime.job import JobResult, Outputs, PinnedInput, Run, Tensor
from service.runtime.turns import Turn
from service.runtime.workers import Clock

log = logging.getLogger(LOGGER)

SMOOTHING = 0.125
"""How far one run moves the measured pace."""

HEAD_FAILED = "The network ran, but its output could not be read."

Rows = list[tuple[Entry, Outputs | FovealError]]
"""Each job of a batch with its rows of the outputs, or with why it has none."""


class Stages:
    """The stages of a batch on a worker's thread. A job that fails in any of them fails alone.

    Args:
        clock: the workers' clock.
        metrics: the model's series.
        statistics: count the runs of this version.
        macs: multiply-accumulate operations per image, for the metric.
        pinned: whether some of the runs offer memory for their input.
        answer: answers jobs.
        is_lost: returns whether the process can not use its GPU any more.

    Attributes:
        batches_tried: how many batches the network has begun to run.
        batches_run: how many of them it has run.
        pace: seconds of an image in the network, averaged; None before the first run.
        device_lost: why the process can not use its GPU any more; empty where it can.
        fits: the largest batch for which the memory was enough, where it was once not enough; else None.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: VersionMetrics,
        statistics: VersionStatistics,
        *,
        macs: int,
        pinned: bool,
        answer: Callable[[Sequence[tuple[Entry, Outcome]]], None],
        is_lost: IsLost = never_lost,
    ) -> None:
        self.batches_tried = 0
        self.batches_run = 0
        self.pace: float | None = None
        self.fits: int | None = None
        self.device_lost = ""
        self._clock = clock
        self._metrics = metrics
        self._statistics = statistics
        self._macs = macs
        self._pinned = pinned
        self._answer = answer
        self._is_lost = is_lost

    def rows(self, run: Run, entries: list[Entry], turn: Turn, batch: TracedBatch | None) -> Rows:
        """Prepare the jobs that are still wanted, run them, and return what each has of the outputs."""
        prepare: Prepare = self.prepare
        if batch is not None:
            prepare = batch.prepared_by(prepare)
        ready = [entry for entry in entries if self._is_wanted(entry) and prepare(entry)]
        ready = [entry for entry in ready if self._is_wanted(entry)]
        if not ready or turn.given_up:
            return Rows()
        rows = list(self.run(run, ready, turn))
        if batch is not None:
            batch.ran(rows)
        return rows

    def prepare_ahead(self, entry: Entry) -> bool:
        """Prepare a job before it is queued; return whether it is to run."""
        prepare: Prepare = self.prepare
        if entry.traced is not None:
            prepare = noted_preparation(prepare, self._clock)
        return self._is_wanted(entry) and prepare(entry)

    def finish(self, rows: Rows, batch: TracedBatch | None) -> None:
        """Answer the jobs of a batch with what is made of their outputs."""
        head: Head = self.head
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

    def _is_wanted(self, entry: Entry) -> bool:
        if entry.future.done():
            return False
        if entry.deadline > self._clock():
            return True
        self._answer([(entry, deadline_error(entry))])
        return False

    def prepare(self, entry: Entry) -> bool:
        """Make the job's tensor; return whether that worked. A job that failed is answered at once, before the run."""
        if entry.tensor is not None:
            return True
        began = self._clock()
        try:
            entry.tensor, entry.context = entry.job.prepare()
        except BaseException as error:  # noqa: BLE001  # what one job meets must not fail the others of its batch
            self._answer([(entry, _not_prepared(error))])
            return False
        entry.trace.decode = self._clock() - began
        return True

    def run(
        self, run: Run, entries: list[Entry], turn: Turn
    ) -> Iterator[tuple[Entry, Outputs | FovealError]]:
        """Run a batch of one or more. One that fails is halved, until the job that makes it fail is alone."""
        size = len(entries)
        turn.since = began = self._clock()
        turn.running = size
        self.batches_tried += 1
        try:
            pinned = self._pinned and isinstance(run, PinnedInput)
            room = run.pinned_input(size) if pinned else None  # type: ignore[attr-defined]
            tensors = [entry.tensor for entry in entries if entry.tensor is not None]
            outputs = run(np.stack(tensors, out=room))
            for name, rows in outputs.items():
                if not rows.ndim or len(rows) != size:
                    raise _wrong_shape(name, rows, size)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime raises untyped errors
            if turn.given_up:
                return
            if self._is_lost(error):
                self.device_lost = reason_of(error)
                lost = UnavailableError(
                    "The GPU failed. The process ends, and a new one takes its place."
                )
                yield from ((entry, lost) for entry in entries)
                return
            if size == 1:
                with within(entries[0]):
                    failure = _failure(error)
                yield entries[0], failure
                return
            if is_out_of_memory(error):
                self.fits = min(self.fits or size, size // 2)
            log.warning("A batch of %d failed and runs again in two halves: %s", size, error)
            middle = size // 2
            yield from self.run(run, entries[:middle], turn)
            yield from self.run(run, entries[middle:], turn)
            return
        self._count(entries, seconds := self._clock() - began)
        for index, entry in enumerate(entries):
            entry.trace.batch_size = size
            entry.trace.infer = seconds
            entry.trace.queue = max(0.0, began - entry.accepted_at - entry.trace.decode)
            yield entry, {name: rows[index] for name, rows in outputs.items()}

    def _count(self, entries: Sequence[Entry], seconds: float) -> None:
        size = len(entries)
        self.batches_run += 1
        self._statistics.ran(size, seconds, [entry.trace.decode for entry in entries])
        pace = seconds / size
        self.pace = pace if self.pace is None else self.pace + (pace - self.pace) * SMOOTHING
        self._metrics.batch_size.observe(size)
        self._metrics.macs.inc(self._macs * size)

    def head(self, entry: Entry, outputs: Outputs) -> Outcome:
        """Return what the job makes of its outputs."""
        began = self._clock()
        try:
            value = entry.job.finish(outputs, entry.context)
        except FovealError as error:
            return without_frames(error)
        except MemoryError:
            log.error("The outputs of an image could not be read: not enough memory.")
            return UnavailableError("There is not enough memory to read what the network says now.")
        except BaseException:  # what one job meets must not fail the others of its batch
            log.exception("A head failed with an unexpected error.")
            return InferenceError(HEAD_FAILED)
        entry.trace.head = self._clock() - began
        trace = entry.trace
        self._metrics.stage_times.observe(trace.decode, trace.queue, trace.infer, trace.head)
        return JobResult(value, entry.trace)


def _not_prepared(error: BaseException) -> FovealError:
    if isinstance(error, FovealError):
        return without_frames(error)
    if isinstance(error, MemoryError):
        log.error("An image could not be prepared: not enough memory.")
        return UnavailableError("There is not enough memory for this image now.")
    log.error("An image could not be prepared, because of an unexpected error.", exc_info=error)
    return InferenceError("The image could not be prepared.")


def _wrong_shape(name: str, rows: Tensor, size: int) -> ValueError:
    shape = "×".join(map(str, rows.shape)) or "no axis"
    return ValueError(f"output {name} has {shape} for {size} images")


def _failure(error: Exception) -> FovealError:
    if is_out_of_memory(error):
        log.error("The network failed on an image: not enough memory: %s", error)
        return UnavailableError("There is not enough memory to run the network on this image now.")
    log.error("The network failed on an image.", exc_info=error)
    return InferenceError(for_clients(f"The network failed on this image: {reason_of(error)}"))
