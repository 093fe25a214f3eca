"""Calls of the engine: a task or a view on a model, with options that the model allows."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.errors import DeadlineError, FovealError, InvalidParameterError
from service.explain.late import late_explanation
from service.explain.probe import find_segmenter
from service.explain.request import ExplainRequest
from service.explain.runner import Runner
from service.explain.views import VIEWS, ExplainResult
from service.imaging.overlay import RenderedImage
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import JobResult
from service.runtime.model import Model
from service.runtime.registry import Registry
from service.tasks.task import Rendering, Task
from service.value import value

Disconnected = Callable[[], Coroutine[Any, Any, None]]
"""A coroutine function that returns when the caller has left."""


@value
class TaskCall:
    """A task on a model with options that the model allows; `run` takes images through it."""

    task: Task
    model: Model
    options: Any
    rendering: Rendering | None
    media_type: str
    _pipeline: Pipeline

    async def run(
        self,
        images: Sequence[EncodedImage],
        *,
        timeout_seconds: float,
        disconnected: Disconnected | None = None,
    ) -> list[JobResult[Any] | FovealError]:
        """Return each image's result, or rendering, or its own error, in order.

        Raises:
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        card = self.model.card
        if self.rendering is None:
            assert self.task.head is not None  # Engine.call has refused it
            head = partial(self.task.head, card=card, options=self.options)
        else:
            head = partial(
                self.rendering.render, card=card, options=self.options, media_type=self.media_type
            )
        return await self._pipeline.predict(
            self.model, images, head, timeout_seconds=timeout_seconds, disconnected=disconnected
        )


@dataclass(frozen=True, slots=True)
class ExplainCall:
    """A view on a model with options that the model allows; `run` explains an image."""

    task: Task
    model: Model
    request: ExplainRequest
    _runner: Runner
    _registry: Registry

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
