"""`view=occlusion`: which pixels a result depends on, by the scores of copies with a covered patch."""

import asyncio
from functools import partial
from typing import Literal

from pydantic import ConfigDict, with_config

from service.explain.explanation import Explanation
from service.explain.heat import (
    HEAT_FORMS,
    HEAT_OPTIONS,
    ExplainedHeat,
    HeatEvidence,
    HeatMethod,
    MadeHeat,
    Subject,
    explain_heat,
)
from service.explain.perturbed_copies import SlidingPatch, sliding_patch
from service.explain.view import View
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_PLACES = 144
"""How many places to cover where the request does not say."""


@with_config(ConfigDict(extra="forbid"))
class OcclusionResult(HeatEvidence):
    """A heat by a patch at `samples` places; `width` and `height` are the displayed image's."""

    view: Literal["occlusion"]
    width: int
    height: int
    method: Literal["occlusion"]
    samples: int


def occlusion_method(patch: SlidingPatch) -> HeatMethod:
    """Return occlusion by a sliding patch, Zeiler and Fergus, ECCV 2014."""

    async def sample(explanation: Explanation, subject: Subject) -> MadeHeat:
        copies = await asyncio.to_thread(patch.copies, subject.frame)
        scores = await explanation.score_copies(copies, subject.target)
        heat = patch.heat(scores, subject.score)
        return MadeHeat(heat, f"occlusion, {patch.count} places", samples=patch.count)

    return HeatMethod("occlusion", "What is missed of {}", sample=sample)


def _result(explained: ExplainedHeat, *, samples: int) -> OcclusionResult:
    return {
        "view": "occlusion",
        "width": explained.geometry.width,
        "height": explained.geometry.height,
        "method": "occlusion",
        "samples": samples,
        **explained.evidence(),
    }


async def _run(explanation: Explanation) -> JobResult[OcclusionResult | RenderedImage]:
    patch = sliding_patch(explanation.request.samples or USUAL_PLACES)
    result = partial(_result, samples=patch.count)
    return await explain_heat(explanation, occlusion_method(patch), result)


OCCLUSION = View(
    name="occlusion",
    summary="which pixels a class, a box or an area depends on, by covering one place after another",
    options=HEAT_OPTIONS,
    forms=HEAT_FORMS,
    result=OcclusionResult,
    run=_run,
)
