"""One explanation on its way: its request, its network, and the ways to run the network."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from service.card import Card
from service.errors import DeadlineError, FovealError, InvalidParameterError
from service.explain.explainers import Explainer
from service.explain.frame import Frame
from service.explain.late import late_explanation
from service.explain.request import WHOLE_IMAGES, ExplainRequest
from service.fanout import FanOut, Place
from service.graph.anatomy import Anatomy
from service.heads.outputs import Outputs
from service.heads.targets import Target, TargetChoice
from service.imaging.overlay import require_png
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage, Head, Pipeline
from service.runtime.job import Job, JobResult
from service.runtime.model import Model
from service.tasks.task import Task

T = TypeVar("T")
InnerHead = Callable[[Outputs, Frame, SourceImage], T]
"""One image's outputs and inner maps, the frame that the network got, the image → a result; on a worker thread."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that a view needs.

    Args:
        request: what to explain and how.
        model: the network that is explained. Perturbed copies run through its queue, as low-priority jobs.
        task: what the network does.
        explainer: the same network with its inner maps among its outputs.
        image: the encoded image; None for views that need none.
        segmenter: a network that separates a thing from its background, for silhouettes; None: there is none.
        pipeline: makes a job of an encoded image.
        fan_out: runs perturbed copies.
        timeout_seconds: how long the explanation may take; its default options are chosen to end by then.
        allowed_seconds: the deadline that the request has from its start, for messages.
        heat_from_copies: what the view says of the request, for messages.
        deadline: the clock's time when the time is over.
        clock: seconds that only grow.
    """

    request: ExplainRequest
    model: Model
    task: Task
    explainer: Explainer
    image: EncodedImage | None
    segmenter: Model | None
    pipeline: Pipeline
    fan_out: FanOut
    timeout_seconds: float
    allowed_seconds: float
    heat_from_copies: bool
    deadline: float
    clock: Callable[[], float]

    def left(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        return max(0.0, self.deadline - self.clock())

    @property
    def card(self) -> Card:
        return self.explainer.card

    @property
    def anatomy(self) -> Anatomy:
        return self.explainer.anatomy

    def choose_target(self, outputs: Outputs, source: SourceImage) -> Target:
        """Return the target that the request asks for.

        Raises:
            InvalidParameterError: the network does not find it in the image, or its task has no targets.
        """
        if self.task.target is None:
            raise InvalidParameterError(
                f"view: {self.request.view} explains a result, and that of {self.task.name} can not be explained"
            )
        choice = TargetChoice(self.request.class_id, self.request.box)
        return self.task.target(outputs, source, self.card, choice)

    def admit(self) -> AbstractContextManager[Place]:
        """Hold one of the places for requests that run perturbed copies.

        Raises:
            OverloadedError: all places are taken.
        """
        return self.fan_out.admit()

    async def image_job(self, card: Card, head: Head[T]) -> Job[SourceImage, T]:
        """Return the job that runs the image through a network with this card; a large one is prepared already.

        Raises:
            InvalidParameterError: the request has no image.
            OverloadedError: too many large images wait.
            DeadlineError: it was not prepared in time.
            TooManyPixelsError: from the job, where the image can not be drawn as large as it is.
        """
        job = self._job(card, head)
        return await self.pipeline.prepared_if_large(self._own_image, job, self.deadline)

    @property
    def _own_image(self) -> EncodedImage:
        if self.image is None:
            raise InvalidParameterError(f"view: {self.request.view} needs an image")
        return self.image

    def _job(self, card: Card, head: Head[T]) -> Job[SourceImage, T]:
        require = require_png if self.request.form in WHOLE_IMAGES else None
        return self.pipeline.job(self._own_image, card, head, self.deadline, require)

    async def run_explainer(self, head: InnerHead[T]) -> JobResult[T]:
        """Return what `head` makes of one run of the network with its inner maps among its outputs.

        Raises:
            FovealError: the image can not be read, or the run failed.
        """
        try:
            job_of_image = self._job(self.card, _nothing)
            ready = await self.pipeline.prepared_if_large(
                self._own_image, job_of_image, self.deadline
            )
            prepare, seconds = ready.prepare, self.timeout_seconds
            if ready is not job_of_image:
                seconds = min(seconds, self.left())

            def prepare_with_frame() -> tuple[Frame, tuple[Frame, SourceImage]]:
                frame, source = prepare()
                return frame, (frame, source)

            job: Job[tuple[Frame, SourceImage], T] = Job(
                prepare_with_frame, lambda outputs, prepared: head(outputs, *prepared)
            )
            (outcome,) = await self.explainer.batcher.submit(
                [job],
                timeout_seconds=seconds,
                low_priority=True,
                bounded=True,
            )
            if isinstance(outcome, FovealError):
                raise outcome
        except DeadlineError:
            raise late_explanation(
                self.request,
                self.model,
                self.allowed_seconds,
                heat_from_copies=self.heat_from_copies,
            ) from None
        return outcome

    async def score_copies(
        self, copies: Iterable[Callable[[], Frame]], target: Target
    ) -> list[float]:
        """Return the target's score in each perturbed copy, 0–1, in order. Call it inside `admit`.

        Raises:
            FovealError: a run failed.
        """
        async with aclosing(self.each_score(copies, target)) as scores:
            return [score async for score in scores]

    def each_score(
        self, copies: Iterable[Callable[[], Frame]], target: Target
    ) -> AsyncGenerator[float, None]:
        """Yield the target's score in each perturbed copy, 0–1, in order. Iterate inside `admit` and `aclosing`.

        Args:
            copies: each makes one frame, uint8 (H, W, 3); called on a worker thread. They are drawn as places in
                flight become free, so that few frames are held at once.
            target: what is scored.

        Raises:
            FovealError: a run failed.
        """

        def score(outputs: Outputs, _: None) -> float:
            return target.score(outputs)

        jobs: Iterable[Job[None, float]] = (Job(partial(_made, copy), score) for copy in copies)
        return self.each_result(self.model, jobs)

    async def run_jobs(self, model: Model, jobs: Iterable[Job[Any, T]]) -> list[T]:
        """Return the results of a model's jobs, in order. Call it inside `admit`.

        Raises:
            FovealError: a run failed; the jobs after it are dropped.
        """
        async with aclosing(self.each_result(model, jobs)) as results:
            return [result async for result in results]

    async def each_result(
        self, model: Model, jobs: Iterable[Job[Any, T]]
    ) -> AsyncGenerator[T, None]:
        """Yield the results of a model's jobs, in order. Iterate inside `admit` and `aclosing`.

        Raises:
            FovealError: a run failed; the jobs after it are dropped.
        """
        running = self.fan_out.run(model, jobs, timeout_seconds=self.timeout_seconds)
        async with aclosing(running) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, FovealError):
                    raise outcome
                yield outcome.value


def _nothing(_outputs: Outputs, _source: SourceImage) -> None:
    """Make no result: only the job's preparation is used."""


def _made(copy: Callable[[], Frame]) -> tuple[Frame, None]:
    return copy(), None
