"""Runs explanations: the only entry to this folder for the rest of the service."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from service.explain.explainers import Explainers
from service.explain.explanation import Explanation
from service.explain.options import require_there
from service.explain.request import ExplainRequest
from service.explain.views import VIEWS, ExplainResult
from service.fanout import FanOut
from service.imaging.overlay import RenderedImage
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import JobResult
from service.runtime.model import Model
from service.spans import span
from service.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Runner:
    """Explains models: one run of a model's explainer, and the perturbed copies that the view needs.

    Args:
        explainers: the explainers of all models.
        fan_out: runs perturbed copies; bounds how many requests may do so at once.
        pipeline: makes jobs of encoded images.
        clock: seconds that only grow; the pace of copies and the time left are read from it.
    """

    explainers: Explainers
    fan_out: FanOut
    pipeline: Pipeline
    clock: Callable[[], float] = time.perf_counter

    async def explain(
        self,
        model: Model,
        image: EncodedImage | None,
        request: ExplainRequest,
        *,
        task: Task,
        segmenter: Model | None,
        timeout_seconds: float,
        allowed_seconds: float | None = None,
    ) -> JobResult[ExplainResult | RenderedImage]:
        """Return the JSON of an explanation, or its image where the request's form is not `json`.

        Args:
            model: the network to explain.
            image: the encoded image; None for a view that needs none.
            request: from `explain_request` or `filters_request`, made for this model's card.
            task: the task of the model's card: its target is explained, its result ends a story.
            segmenter: draws the silhouette of `view=probe`, see `find_segmenter`; None: no silhouette.
            timeout_seconds: how long the explanation may take: where the request leaves method, samples or steps
                open, they are chosen so that it ends by then. Each run gets as long, from when its job is queued.
            allowed_seconds: the request's whole deadline, for messages; None: `timeout_seconds`.

        Raises:
            InvalidParameterError: the network does not allow the request, or does not find the target in the image.
            OverloadedError: too many explainers, or too many requests with perturbed copies, are at work.
            DeadlineError: the model is too slow for the least that the view needs.
            FovealError: the image can not be read, or a run failed.
        """
        view = VIEWS[request.view]
        deadline = self.clock() + timeout_seconds
        with span("explain", {"foveal.view": request.view}):
            async with self.explainers.use(model) as explainer:
                require_there(request, explainer.card)
                explanation = Explanation(
                    request=request,
                    model=model,
                    task=task,
                    explainer=explainer,
                    image=image,
                    segmenter=segmenter,
                    pipeline=self.pipeline,
                    fan_out=self.fan_out,
                    timeout_seconds=timeout_seconds,
                    allowed_seconds=timeout_seconds if allowed_seconds is None else allowed_seconds,
                    heat_from_copies=view.heat_from_copies(request),
                    deadline=deadline,
                    clock=self.clock,
                )
                return await view.run(explanation)
