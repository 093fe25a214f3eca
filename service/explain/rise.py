"""`view=rise`: which pixels a result depends on, by the scores of copies under random masks."""

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
from service.explain.perturbed_copies import RandomMasks
from service.explain.view import View
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_MASKS = 400
"""How many random masks to run where the request does not say."""


@with_config(ConfigDict(extra="forbid"))
class RiseResult(HeatEvidence):
    """A heat by `samples` random masks; `width` and `height` are the displayed image's."""

    view: Literal["rise"]
    width: int
    height: int
    method: Literal["rise"]
    samples: int
    seed: int


def rise_method(samples: int) -> HeatMethod:
    """Return RISE with so many random masks, seeded by the request.

    Petsiuk et al., "RISE", BMVC 2018; for boxes D-RISE, Petsiuk et al., CVPR 2021.
    """

    async def sample(explanation: Explanation, subject: Subject) -> MadeHeat:
        masks = RandomMasks(explanation.request.seed, samples)
        copies = await asyncio.to_thread(masks.copies, subject.frame)
        scores = await explanation.score_copies(copies, subject.target)
        heat = await asyncio.to_thread(masks.heat, scores)
        return MadeHeat(heat, f"RISE, {samples} random masks", samples=samples)

    return HeatMethod("rise", "What shows {}", sample=sample)


def _result(explained: ExplainedHeat, *, samples: int, seed: int) -> RiseResult:
    return {
        "view": "rise",
        "width": explained.geometry.width,
        "height": explained.geometry.height,
        "method": "rise",
        "samples": samples,
        "seed": seed,
        **explained.evidence(),
    }


async def _run(explanation: Explanation) -> JobResult[RiseResult | RenderedImage]:
    request = explanation.request
    samples = request.samples or USUAL_MASKS
    result = partial(_result, samples=samples, seed=request.seed)
    return await explain_heat(explanation, rise_method(samples), result)


RISE = View(
    name="rise",
    summary="which pixels a class, a box or an area depends on, seen through random masks",
    options=HEAT_OPTIONS | {"seed"},
    forms=HEAT_FORMS,
    result=RiseResult,
    run=_run,
)
