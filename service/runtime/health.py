"""Keeps each model's state true: a model that has answered nothing for a while gets a blank image to answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.errors import (
    DeadlineError,
    FovealError,
    NotReadyError,
    OverloadedError,
    ShuttingDownError,
)
from service.logs import FIELDS, LOGGER
from service.runtime.batcher import Batcher
from service.runtime.contract import fault_of, varied_input
from service.runtime.job import Job, JobResult, Tensor
from service.runtime.model import Model
from service.runtime.workers import Clock

log = logging.getLogger(LOGGER)

HEALTH_CHECK_SHARE = 1e-3
"""The share of time that a model's health checks may take: one that runs for 0.3 s is sent every five minutes."""
FIRST_CHECK_SECONDS = 60.0
"""How long the first check of a model may take: on some devices the first run still compiles."""
CHECK_SECONDS = 10.0
"""How long every later check may take."""

Sleep = Callable[[float], Awaitable[object]]
"""Waits for so many seconds, as `asyncio.sleep` does."""


@dataclass(slots=True)
class _Record:
    """What the watcher knows of a model since the last round.

    Attributes:
        taken: how many batches it had taken by then.
        answers: how many jobs it had answered with a result by then.
        next_check: from when on it may be checked again, in seconds of the clock.
        varied: whether it is checked with noise, since its answer for a blank image is not finite.
    """

    taken: int = 0
    answers: int = 0
    next_check: float = 0.0
    varied: bool = False

    def note(self, queue: Batcher) -> None:
        self.taken, self.answers = queue.batches_taken, queue.answers


class HealthWatcher:
    """Checks the models that it was given, and marks each as ready or failed.

    A model that has answered since the last round has proved that it works. Any other gets a blank image: behind all
    single images, and a heavy model that nobody uses less often. (On two cores a check of U²-Net-p delayed all
    images by 0.3 s.)

    Args:
        clock: measures how long ago a model was checked.
        sleep: waits between two rounds.
    """

    def __init__(self, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._records: dict[Model, _Record] = {}

    async def admit(self, model: Model, queue: Batcher, *, checked: bool = False) -> None:
        """Check a model for the first time, and in every round from now on.

        Args:
            model: it.
            queue: of the model.
            checked: whether it has answered while it was loaded. Then the first check through its queue is that of the
                next round, behind all images.
        """
        record = _Record()
        if checked:
            model.mark_ready()
        else:
            await self._check(model, queue, record, FIRST_CHECK_SECONDS, low_priority=False)
        self._records[model] = record

    def forget(self, model: Model) -> None:
        """Check a model no more; nothing here refers to it afterwards."""
        self._records.pop(model, None)

    async def watch(self, every_seconds: float) -> None:
        """Make a round over all models every so many seconds, without end."""
        while True:
            await self._sleep(every_seconds)
            await self.make_round()

    async def make_round(self, check_seconds: float = CHECK_SECONDS) -> None:
        """Check each model that has not proved since the last round that it works, one after the other.

        Args:
            check_seconds: how long each check may take.
        """
        for model, record in tuple(self._records.items()):
            if model.queue is not None:
                await self._visit(model, model.queue, record, check_seconds)

    async def _visit(
        self, model: Model, queue: Batcher, record: _Record, check_seconds: float
    ) -> None:
        has_answered = model.state == "ready" and queue.answers > record.answers
        is_used = queue.busy or queue.batches_taken > record.taken
        if not has_answered and (is_used or self._clock() >= record.next_check):
            await self._check(model, queue, record, check_seconds, low_priority=True)
        record.note(queue)

    async def _check(
        self,
        model: Model,
        queue: Batcher,
        record: _Record,
        timeout_seconds: float,
        *,
        low_priority: bool,
    ) -> None:
        """Run a blank image through the model's queue, and mark the model by what comes out.

        Some networks have no finite answer for an image of one color only. Such a one is checked with noise.

        A queue that is full or slow is no failure as long as batches still come out of it, nor is a check that only
        waited for a worker: then the batches of other models ran. A queue that was closed says nothing, nor does one
        that was taken from the model meanwhile: it fell asleep, or was woken again since.
        """
        before = model.queue
        was_running = queue.running
        tried_before, ran_before = queue.batches_tried, queue.batches_run
        outcome: JobResult[str] | FovealError
        try:
            tensor = varied_input(model.blank) if record.varied else model.blank
            outcome = await _answer(queue, tensor, timeout_seconds, low_priority=low_priority)
            if isinstance(outcome, JobResult) and outcome.value and not record.varied:
                record.varied = True
                tensor = varied_input(model.blank)
                outcome = await _answer(queue, tensor, timeout_seconds, low_priority=low_priority)
            if isinstance(outcome, JobResult) and outcome.value:
                outcome = NotReadyError(outcome.value)
        except ShuttingDownError:
            return
        except (OverloadedError, NotReadyError) as error:
            outcome = error
        if model.queue is not before:
            return
        if isinstance(outcome, JobResult):
            model.mark_ready()
            record.note(queue)
            record.next_check = self._clock() + outcome.trace.infer / HEALTH_CHECK_SHARE
            return
        waited_for_others = not was_running and queue.batches_tried == tried_before
        is_slow = isinstance(outcome, OverloadedError | DeadlineError)
        if not (is_slow and (queue.batches_run > ran_before or waited_for_others)):
            model.mark_failed(queue.broken or f"did not answer its health check: {outcome}")
            log.error(
                "health check failed", extra={FIELDS: {"model": model.name, "reason": str(outcome)}}
            )


async def _answer(
    queue: Batcher, tensor: Tensor, timeout_seconds: float, *, low_priority: bool
) -> JobResult[str] | FovealError:
    """Return what is wrong with the outputs for one input, empty where nothing is, or why it was not answered.

    Raises:
        OverloadedError, NotReadyError, ShuttingDownError: the queue does not take it.
    """
    job = Job(prepare=lambda: (tensor, None), finish=lambda outputs, _: fault_of(outputs))
    (outcome,) = await queue.submit(
        [job], timeout_seconds=timeout_seconds, low_priority=low_priority, is_request=False
    )
    return outcome
