"""What a network sees, a view at a time: one look with every inner map, then the perturbed copies it needs."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.errors import FovealError
from service.explain.explainers import Explainer, Explainers
from service.fanout import FanOut
from service.heads.targets import Target
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import Job, JobResult, Outputs
from service.runtime.model import Model

T = TypeVar("T")
Frame = NDArray[np.uint8]
InnerHead = Callable[[Outputs, Frame, SourceImage], T]
"""One image's outputs and inner maps, the frame that the network saw, the image → a result; on a worker thread."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Looks at an image through an explainer, and sends perturbed copies of it through the model's ordinary queue."""

    explainers: Explainers
    fan_out: FanOut
    pipeline: Pipeline

    async def look(
        self,
        explainer: Explainer,
        image: EncodedImage,
        head: InnerHead[T],
        *,
        timeout_seconds: float,
    ) -> JobResult[T]:
        """Return what a head reads from one run of the laid-open network.

        Raises:
            FovealError: the image can not be read, or the run failed.
        """
        prepare = self.pipeline.job(image, explainer.card, lambda _, __: None).prepare

        def prepare_with_frame() -> tuple[Frame, tuple[Frame, SourceImage]]:
            frame, source = prepare()
            return frame, (frame, source)

        job: Job[tuple[Frame, SourceImage], T] = Job(
            prepare_with_frame, lambda outputs, seen: head(outputs, *seen)
        )
        (outcome,) = await explainer.batcher.submit(
            [job], timeout_seconds=timeout_seconds, low_priority=True
        )
        if isinstance(outcome, FovealError):
            raise outcome
        return outcome

    async def scores(
        self,
        model: Model,
        copies: Sequence[Callable[[], Frame]],
        target: Target,
        *,
        timeout_seconds: float,
    ) -> list[float]:
        """Return the target's score in each perturbed copy, in order; the copies wait behind everybody's images.

        Raises:
            OverloadedError: too many fan-outs run already.
            FovealError: a run failed.
        """

        def score(outputs: Outputs, _: None) -> float:
            return target.score(outputs)

        return await self.read(model, copies, score, timeout_seconds=timeout_seconds)

    async def read(
        self,
        model: Model,
        copies: Sequence[Callable[[], Frame]],
        finish: Callable[[Outputs, None], T],
        *,
        timeout_seconds: float,
    ) -> list[T]:
        """Return what `finish` reads from each copy's outputs, in order; see `scores`."""
        jobs: list[Job[None, T]] = [Job(partial(_made, copy), finish) for copy in copies]
        return await self.run(model, jobs, timeout_seconds=timeout_seconds)

    async def run(
        self, model: Model, jobs: Iterable[Job[Any, T]], *, timeout_seconds: float
    ) -> list[T]:
        """Return the jobs' results, in order; the first that fails ends it, see `scores`."""
        found: list[T] = []
        async with aclosing(
            self.fan_out.run(model, jobs, timeout_seconds=timeout_seconds)
        ) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, FovealError):
                    raise outcome
                found.append(outcome.value)
        return found


def _made(copy: Callable[[], Frame]) -> tuple[Frame, None]:
    return copy(), None
