"""Requests that a second version of their model runs too: its results are compared and dropped."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from service.errors import FovealError
from service.logs import LOGGER
from service.metrics import Metrics
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import JobResult
from service.runtime.model import Model
from service.tasks.task import Task, TaskOptions

log = logging.getLogger(LOGGER)

MOST_IMAGES = 8
"""Images that shadows may run, or wait to run, at once; those of further requests are dropped."""
SHADOW_SECONDS = 1.0
"""How long an image may wait for a shadow. Until then low-priority jobs yield to all others."""


class Shadows:
    """Runs requests on shadow versions, after their answer is known; nobody waits for it.

    Under load shadows are dropped first: they run only where the queue of the version that answered is empty, and where
    all others leave room.

    Args:
        pipeline: takes images through a model.
        metrics: counts which results agree.
    """

    def __init__(self, pipeline: Pipeline, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._images = 0
        self._running: set[asyncio.Task[None]] = set()

    def offer(
        self,
        task: Task,
        options: TaskOptions,
        shadow: Model,
        images: Sequence[EncodedImage],
        outcomes: Sequence[JobResult[Any] | FovealError],
        *,
        busy: bool,
    ) -> None:
        """Run the images of a request on a shadow beside everything else, or drop them.

        Args:
            task: what was done with them.
            options: of the request, as they were before they were held against a model.
            shadow: the version.
            images: the encoded images.
            outcomes: what was answered.
            busy: whether others wait.
        """
        answered = [
            (image, outcome.value)
            for image, outcome in zip(images, outcomes, strict=True)
            if isinstance(outcome, JobResult)
        ]
        if not answered:
            return
        if busy or self._images + len(answered) > MOST_IMAGES:
            self._count(shadow, "dropped", len(answered))
            return
        self._images += len(answered)
        running = asyncio.create_task(self._run(task, options, shadow, answered))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Drop what runs."""
        for running in tuple(self._running):
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(
        self,
        task: Task,
        options: TaskOptions,
        shadow: Model,
        answered: Sequence[tuple[EncodedImage, Any]],
    ) -> None:
        lease = shadow.lease
        try:
            settled = task.settle(options, shadow.card)
            assert task.head is not None  # it has answered
            outcomes = await self._pipeline.predict(
                shadow,
                [image for image, _ in answered],
                partial(task.head, card=shadow.card, options=settled),
                timeout_seconds=SHADOW_SECONDS,
                low_priority=True,
                is_request=False,
            )
            for (_, answer), outcome in zip(answered, outcomes, strict=True):
                self._count(shadow, _compared(task, answer, outcome))
        except FovealError as error:
            log.debug("the shadow %s did not run: %s", shadow, error)
            self._count(shadow, _failed(error), len(answered))
        finally:
            self._images -= len(answered)
            del lease  # held until here, so that the shadow drains first

    def _count(self, shadow: Model, outcome: str, images: int = 1) -> None:
        self._metrics.shadows.labels(shadow.name, str(shadow.version), outcome).inc(images)


def _compared(task: Task, answer: Any, outcome: JobResult[Any] | FovealError) -> str:  # noqa: ANN401
    if isinstance(outcome, FovealError):
        return _failed(outcome)
    return "agreed" if task.same_result(answer, outcome.value) else "differed"


def _failed(error: FovealError) -> str:
    return "dropped" if error.status in {503, 504} else "failed"
