"""Requests that a second version of their model runs too: its results are compared and dropped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.card import Card
from service.errors import FovealError, InvalidParameterError, shortage_of
from service.logs import LOGGER
from service.metrics import Metrics
from service.pipeline import EncodedImage, Pipeline, whole_frame
from service.runtime.job import Job, JobResult, Outputs
from service.runtime.model import Model
from service.tasks.task import Task, TaskOptions

log = logging.getLogger(LOGGER)

MOST_IMAGES = 8
"""Images that shadows may run, or wait to run, at once; those of further requests are dropped."""
MOST_BYTES = 64 << 20
"""What the inputs of these may hold: their requests are answered, so that nothing else counts them any more."""
SHADOW_SECONDS = 1.0
"""How long an image may wait for a shadow. Until then low-priority jobs yield to all others."""

Run = Callable[[Sequence[tuple[Any, Any]]], Awaitable[list[str]]]
"""Runs inputs on a shadow, each beside what was answered; returns what is counted of each."""


class Shadows:
    """Runs requests on shadow versions, after their answer is known; nobody waits for it.

    Under load shadows are dropped first: they run only where the queue of the version that answered is empty, and where
    all others leave room. No other model leaves the memory for a shadow.

    Args:
        pipeline: takes images through a model.
        metrics: counts which results agree.
        has_room: returns whether a model is in memory, or can be loaded while all others stay there.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        has_room: Callable[[Model], bool] = lambda _: True,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._has_room = has_room
        self._images = self._bytes = 0
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
        run = partial(self._results, task, options, shadow)
        self._offer(shadow, images, outcomes, run, busy=busy)

    def offer_inputs(
        self,
        task: Task,
        card: Card,
        shadow: Model,
        inputs: Sequence[NDArray[Any] | EncodedImage],
        outcomes: Sequence[JobResult[Outputs] | FovealError],
        *,
        busy: bool,
        options: TaskOptions | None = None,
    ) -> None:
        """Run inputs of which only the outputs are known; compared is what the task's head makes of both.

        Args:
            task: of the network.
            card: of the version that answered.
            shadow: the version.
            inputs: rows of the network's input, or encoded images.
            outcomes: what was answered.
            busy: whether others wait.
            options: with which the head reads both, not yet held against a model; None: the defaults.
        """
        run = partial(self._comparisons, task, options or task.options(), card, shadow)
        self._offer(shadow, inputs, outcomes, run, busy=busy)

    def _offer(
        self,
        shadow: Model,
        inputs: Sequence[Any],
        outcomes: Sequence[JobResult[Any] | FovealError],
        run: "Run",
        *,
        busy: bool,
    ) -> None:
        answered = [
            (given, outcome.value)
            for given, outcome in zip(inputs, outcomes, strict=True)
            if isinstance(outcome, JobResult)
        ]
        if not answered:
            return
        size = sum(_bytes_of(given) for given, _ in answered)
        fits = self._images + len(answered) <= MOST_IMAGES and self._bytes + size <= MOST_BYTES
        if busy or not fits or not self._has_room(shadow):
            self._count(shadow, "dropped", len(answered))
            return
        self._images += len(answered)
        self._bytes += size
        running = asyncio.create_task(self._run(shadow, answered, run))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def drop(self, shadow: Model, images: int) -> None:
        """Count images that are too many to run."""
        self._count(shadow, "dropped", images)

    async def close(self) -> None:
        """Drop what runs."""
        for running in tuple(self._running):
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, shadow: Model, answered: Sequence[tuple[Any, Any]], run: "Run") -> None:
        lease = shadow.lease
        try:
            for outcome in await run(answered):
                self._count(shadow, outcome)
        except FovealError as error:
            log.debug("the shadow %s did not run: %s", shadow, error)
            self._count(shadow, _failed(error), len(answered))
        except Exception as error:  # nobody else would hear of it
            if shortage_of(error) is None:
                log.exception("the shadow %s failed", shadow)
            outcome = "failed" if shortage_of(error) is None else "dropped"
            self._count(shadow, outcome, len(answered))
        finally:
            self._images -= len(answered)
            self._bytes -= sum(_bytes_of(given) for given, _ in answered)
            del lease  # held until here, so that the shadow drains first

    async def _results(
        self,
        task: Task,
        options: TaskOptions,
        shadow: Model,
        answered: Sequence[tuple[EncodedImage, Any]],
    ) -> list[str]:
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
        return [
            _compared(task, answer, outcome)
            for (_, answer), outcome in zip(answered, outcomes, strict=True)
        ]

    async def _comparisons(
        self,
        task: Task,
        options: TaskOptions,
        card: Card,
        shadow: Model,
        answered: Sequence[tuple[NDArray[Any] | EncodedImage, Outputs]],
    ) -> list[str]:
        if shadow.card.input != card.input:
            raise InvalidParameterError(
                f"{shadow} takes another input than the version that answered"
            )
        source = whole_frame(card)

        def read(outputs: Outputs, its: Card) -> Any:  # noqa: ANN401  # the result of any task
            assert task.head is not None
            return task.head(outputs, source, card=its, options=task.settle(options, its))

        def same(answer: Outputs, outputs: Outputs, _: object) -> bool:
            return task.same_result(read(answer, card), read(outputs, shadow.card))

        outcomes = await asyncio.gather(
            *(self._same(shadow, one, partial(same, answer)) for one, answer in answered)
        )
        return [
            _failed(one) if isinstance(one, FovealError) else _named(same=one.value)
            for (one,) in outcomes
        ]

    async def _same(
        self,
        shadow: Model,
        given: NDArray[Any] | EncodedImage,
        compare: Callable[[Outputs, object], bool],
    ) -> list[JobResult[bool] | FovealError]:
        """Return whether a shadow's outputs of one input say the same; read on a thread, like every output."""
        if not isinstance(given, np.ndarray):
            return await self._pipeline.predict(
                shadow,
                [given],
                compare,
                timeout_seconds=SHADOW_SECONDS,
                low_priority=True,
                is_request=False,
            )
        queue, seconds = shadow.queue, SHADOW_SECONDS
        if queue is None:
            queue, seconds = await shadow.awake(seconds)
        job: Job[None, bool] = Job(lambda: (given, None), compare)
        return await queue.submit(
            [job], timeout_seconds=seconds, low_priority=True, is_request=False
        )

    def _count(self, shadow: Model, outcome: str, images: int = 1) -> None:
        self._metrics.shadows.labels(shadow.name, str(shadow.version), outcome).inc(images)


def _bytes_of(given: NDArray[Any] | EncodedImage) -> int:
    if isinstance(given, np.ndarray):
        return given.nbytes
    return len(given) if isinstance(given, bytes) else 0


def _compared(task: Task, answer: Any, outcome: JobResult[Any] | FovealError) -> str:  # noqa: ANN401
    if isinstance(outcome, FovealError):
        return _failed(outcome)
    return _named(same=task.same_result(answer, outcome.value))


def _failed(error: FovealError) -> str:
    return "dropped" if error.status in {503, 504} else "failed"


def _named(*, same: bool) -> str:
    return "agreed" if same else "differed"
