"""`view=rise`: which pixels a result depends on, by the scores of copies under random masks."""

import asyncio
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
from service.explain.pace import LEAST_COPIES, coarse, score_affordable, too_slow
from service.explain.perturbed_copies import RandomMasks
from service.explain.view import View, always
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_MASKS = 400
"""How many random masks to run where the request does not say, and there is time for them."""
FEWEST_MASKS = 48
"""Fewer show little: another method is better where there is one. A request may still ask for fewer."""


@with_config(ConfigDict(extra="forbid"))
class RiseResult(HeatEvidence):
    """A heat by `samples` random masks; `width` and `height` are the displayed image's."""

    view: Literal["rise"]
    width: int
    height: int
    method: Literal["rise"]
    samples: int
    seed: int


def rise_method(usual: int, fallback: HeatMethod | None = None) -> HeatMethod:
    """Return RISE, seeded by the request.

    Petsiuk et al., "RISE", BMVC 2018; for boxes D-RISE, Petsiuk et al., CVPR 2021.

    Args:
        usual: how many random masks where the request does not say, and there is time for them.
        fallback: what makes the heat where there is no time for `FEWEST_MASKS`; None: fewer masks make it.
    """

    async def sample(explanation: Explanation, subject: Subject) -> MadeHeat | None:
        wanted, target = explanation.request.samples, subject.target
        masks = RandomMasks(explanation.request.seed, wanted or usual)
        copies = await asyncio.to_thread(masks.copies, subject.frame)
        if wanted is not None:
            scores = await explanation.score_copies(copies, target)
        else:
            least = LEAST_COPIES if fallback is None else FEWEST_MASKS
            scores = await score_affordable(explanation, copies, target, least=least)
            if len(scores) < least and fallback is None:
                raise too_slow(explanation, least)
            if len(scores) < least:
                return None
        heat = await asyncio.to_thread(masks.heat, scores)
        count = len(scores)
        detail = coarse("random masks", count, FEWEST_MASKS) if wanted is None else None
        return MadeHeat(heat, f"RISE, {count} random masks", samples=count, detail=detail)

    return HeatMethod("rise", "What shows {}", sample=sample, fallback=fallback)


def _result(explained: ExplainedHeat) -> RiseResult:
    samples, seed = explained.made.samples, explained.seed
    assert samples is not None, "RISE counts its masks"
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
    return await explain_heat(explanation, rise_method(USUAL_MASKS), _result)


RISE = View(
    name="rise",
    summary="which pixels a class, a box or an area depends on, seen through random masks",
    options=HEAT_OPTIONS | {"seed"},
    forms=HEAT_FORMS,
    result=RiseResult,
    run=_run,
    heat_from_copies=always,
)
