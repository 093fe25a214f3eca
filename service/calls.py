"""Calls of the engine: a task or a view on a model, with options that the model allows."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.caching import CachingPipeline, Question
from service.card import INPUT_NAME, TEMPORAL_INPUT_NAME
from service.errors import DeadlineError, FovealError, InvalidParameterError
from service.explain.late import late_explanation
from service.explain.probe import find_segmenter
from service.explain.request import ExplainRequest
from service.explain.runner import Runner
from service.explain.views import VIEWS, ExplainResult
from service.imaging.overlay import RenderedImage
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import Job, JobResult, Outputs
from service.runtime.model import Lease, Model
from service.runtime.registry import Registry
from service.shadows import Shadows
from service.tasks.task import JsonForm, Rendering, Task, TaskOptions
from service.value import value

Disconnected = Callable[[], Coroutine[Any, Any, None]]
"""A coroutine function that returns when the caller has left."""


@value
class ShadowCall:
    """A version that runs a request too, with the options before they were held against a model."""

    model: Model
    options: TaskOptions
    _shadows: Shadows

    def offer(
        self,
        call: "TaskCall",
        images: Sequence[EncodedImage],
        outcomes: Sequence[JobResult[Any] | FovealError],
    ) -> None:
        """Run the images beside everything else, or drop them."""
        queue = call.model.queue
        busy = queue is None or queue.depth > 0
        self._shadows.offer(call.task, self.options, self.model, images, outcomes, busy=busy)


@value
class TaskCall:
    """A task on a model with options that the model allows; `run` takes images through it."""

    task: Task
    model: Model
    options: Any
    rendering: Rendering | None
    media_type: str
    _pipeline: Pipeline
    _lease: Lease | None = None
    _cache: CachingPipeline | None = None
    _question: tuple[str, ...] = ()
    _shadow: ShadowCall | None = None
    form: JsonForm | None = None

    async def run(
        self,
        images: Sequence[EncodedImage],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        client: str = "",
    ) -> list[JobResult[Any] | FovealError]:
        """Return each image's result, or rendering, or its own error, in order.

        `client` is who asks: where answers are kept, no other one gets this one's.

        Raises:
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        card = self.model.card
        require, draws = None, False
        if self.rendering is None:
            assert self.task.head is not None  # Dispatch.call has refused it
            head = partial(self.task.head, card=card, options=self.options)
            if self.form is not None:
                head = partial(_formed, head, self.form.make)
        else:
            head = partial(
                self.rendering.render, card=card, options=self.options, media_type=self.media_type
            )
            require, draws = partial(self.rendering.require, self.media_type), self.rendering.draws
        predict = _predict(self._pipeline, self._cache, Question(self._question, client))
        outcomes = await predict(
            self.model,
            images,
            head,
            timeout_seconds=timeout_seconds,
            disconnected=disconnected,
            require=require,
            draws=draws,
        )
        if self._shadow is not None:
            self._shadow.offer(self, images, outcomes)
        return outcomes


@value
class TensorShadow:
    """A version that runs the inputs of a request too, whose outputs are answered as they are."""

    model: Model
    task: Task
    _shadows: Shadows

    def offer(
        self,
        served: Model,
        inputs: Sequence[NDArray[Any] | EncodedImage],
        outcomes: Sequence[JobResult[Outputs] | FovealError],
    ) -> None:
        """Run the inputs beside everything else, or drop them."""
        busy = served.queue is None or served.queue.depth > 0
        self._shadows.offer_inputs(self.task, served.card, self.model, inputs, outcomes, busy=busy)


@value
class TensorCall:
    """A network without a head: on tensors, or on images that are made its input; each row's outputs are returned.

    Low priority is that of the frames of videos: such rows yield to all others.
    """

    model: Model
    _pipeline: Pipeline
    _lease: Lease | None = None
    _cache: CachingPipeline | None = None
    _shadow: TensorShadow | None = None

    @property
    def input_name(self) -> str:
        """The name of the network's only input."""
        return INPUT_NAME if self.model.card.input else TEMPORAL_INPUT_NAME

    def rows(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the network's input (N, …), checked against what the network takes.

        Raises:
            InvalidParameterError: a tensor is missing or has another dtype or shape than the network's input.
        """
        model, blank, name = self.model, self.model.blank, self.input_name
        if set(tensors) != {name}:
            given = ", ".join(sorted(tensors)) or "none"
            raise InvalidParameterError(f"inputs: {model.name} takes {name!r}, not {given}")
        rows = np.asarray(tensors[name])
        if rows.dtype != blank.dtype or rows.shape[1:] != blank.shape or not len(rows):
            wanted = "×".join(map(str, blank.shape))
            raise InvalidParameterError(
                f"inputs: {name!r} of {model.name} is {blank.dtype} N×{wanted}, not "
                f"{rows.dtype} {'×'.join(map(str, rows.shape))}"
            )
        return rows

    async def run(
        self,
        rows: NDArray[Any],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
    ) -> list[JobResult[Outputs] | FovealError]:
        """Return the outputs of each row (N, …) of the input, or its own error, in order.

        Raises:
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        jobs = [Job(partial(_row, row), _outputs) for row in rows]
        queue = self.model.queue
        if queue is None:
            queue, timeout_seconds = await self.model.awake(timeout_seconds)
        outcomes = await queue.submit(
            jobs,
            timeout_seconds=timeout_seconds,
            disconnected=disconnected,
            low_priority=low_priority,
        )
        if self._shadow is not None:
            self._shadow.offer(self.model, list(rows), outcomes)
        return outcomes

    async def run_images(
        self,
        images: Sequence[EncodedImage],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
        low_priority: bool = False,
        client: str = "",
    ) -> list[JobResult[Outputs] | FovealError]:
        """Return the outputs of each encoded image, decoded and resized as for every task, or its own error, in order.

        `client` is who asks: where answers are kept, no other one gets this one's.

        Raises:
            TooManyPixelsError: all images together have too many.
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        predict = _predict(self._pipeline, self._cache, Question(("tensors",), client))
        outcomes = await predict(
            self.model,
            images,
            _outputs,
            timeout_seconds=timeout_seconds,
            disconnected=disconnected,
            low_priority=low_priority,
        )
        if self._shadow is not None:
            self._shadow.offer(self.model, images, outcomes)
        return outcomes


@dataclass(frozen=True, slots=True)
class ExplainCall:
    """A view on a model with options that the model allows; `run` explains an image."""

    task: Task
    model: Model
    request: ExplainRequest
    _runner: Runner
    _registry: Registry
    _lease: Lease | None = None

    @property
    def needs_image(self) -> bool:
        """Whether the view shows something of an image, and not of the network alone."""
        return VIEWS[self.request.view].needs_image

    def late(self, allowed_seconds: float) -> DeadlineError:
        """Return the error for an explanation that was not ready in time."""
        return late_explanation(
            self.request,
            self.model,
            allowed_seconds,
            heat_from_copies=VIEWS[self.request.view].heat_from_copies(self.request),
        )

    async def run(
        self,
        image: EncodedImage | None,
        *,
        timeout_seconds: float,
        allowed_seconds: float | None = None,
    ) -> JobResult[ExplainResult | RenderedImage]:
        """Return the explanation as JSON, or as an image where the request wants one.

        Args:
            image: the encoded image; None for a view that needs none.
            timeout_seconds: the time that is left.
            allowed_seconds: the request's whole deadline, for messages; None: the same.

        Raises:
            InvalidParameterError: the view needs an image, or the network does not find the target in it.
            FovealError: the image can not be read, or a run failed.
        """
        if image is None and self.needs_image:
            raise InvalidParameterError(f"view: {self.request.view} needs an image")
        return await self._runner.explain(
            self.model,
            image,
            self.request,
            task=self.task,
            segmenter=find_segmenter(self._registry.models),
            timeout_seconds=timeout_seconds,
            allowed_seconds=allowed_seconds,
        )


def _predict(
    pipeline: Pipeline, cache: CachingPipeline | None, question: Question
) -> Callable[..., Coroutine[Any, Any, list[JobResult[Any] | FovealError]]]:
    """Return the way of images to their results, through the cache where there is one."""
    if cache is None:
        return pipeline.predict
    return partial(cache.predict, question=question)


def _formed(
    head: Callable[[Outputs, SourceImage], Any],
    make: Callable[[Any], Any],
    outputs: Outputs,
    source: SourceImage,
) -> Any:  # noqa: ANN401  # the result of any task
    return make(head(outputs, source))


def _row(row: NDArray[Any]) -> tuple[NDArray[Any], None]:
    return row, None


def _outputs(outputs: Outputs, _: object) -> Outputs:
    return outputs
