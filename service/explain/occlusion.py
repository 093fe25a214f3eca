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
from service.explain.pace import (
    FIRST_COPIES,
    HEAT_SHARE,
    LEAST_COPIES,
    Paced,
    coarse,
    score_affordable,
    too_slow,
)
from service.explain.perturbed_copies import SlidingPatch, sliding_patch
from service.explain.view import View, always
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_PLACES = 144
"""How many places to cover where the request does not say, and there is time for them."""
FEWEST_PLACES = 36
"""The coarsest grid where the request does not say. Where the time ends first, a place gets its neighbor's value."""


@with_config(ConfigDict(extra="forbid"))
class OcclusionResult(HeatEvidence):
    """A heat by a patch at `samples` places; `width` and `height` are the displayed image's."""

    view: Literal["occlusion"]
    width: int
    height: int
    method: Literal["occlusion"]
    samples: int


async def _sample(explanation: Explanation, subject: Subject) -> MadeHeat:
    samples, target = explanation.request.samples, subject.target
    if samples is None:
        patch, scores = await _affordable(explanation, subject)
    else:
        patch = sliding_patch(samples)
        copies = await asyncio.to_thread(patch.copies, subject.frame)
        scores = await explanation.score_copies(copies, target)
    count = len(scores)
    detail = coarse("places", count, FEWEST_PLACES) if samples is None else None
    heat = patch.heat(scores, subject.score)
    return MadeHeat(heat, f"occlusion, {count} places", samples=count, detail=detail)


async def _affordable(
    explanation: Explanation, subject: Subject
) -> tuple[SlidingPatch, list[float]]:
    """Return the finest usual grid that there is time for, and the scores of its places, of the first at least.

    The first copies, whose pace decides, are those of the coarsest grid; where it stays at that, they count.

    Raises:
        DeadlineError: there is no time even for `LEAST_COPIES`.
    """
    began = explanation.clock()
    until = began + HEAT_SHARE * explanation.left()
    patch, target = sliding_patch(FEWEST_PLACES), subject.target
    copies = await asyncio.to_thread(patch.copies, subject.frame)
    score = partial(score_affordable, explanation, target=target, least=LEAST_COPIES, until=until)
    done = await score(copies[:FIRST_COPIES])
    if len(done) == FIRST_COPIES:
        first = Paced(done, (explanation.clock() - began) / FIRST_COPIES)
        count = first.affords(until - explanation.clock(), USUAL_PLACES)
        if (finer := sliding_patch(max(count, FEWEST_PLACES))).count > patch.count:
            patch, done = finer, []
            copies = await asyncio.to_thread(patch.copies, subject.frame)
        done += await score(copies[len(done) :])
    if len(done) < LEAST_COPIES:
        raise too_slow(explanation, LEAST_COPIES)
    return patch, done


METHOD = HeatMethod("occlusion", "What is missed of {}", sample=_sample)
"""Occlusion by a sliding patch, Zeiler and Fergus, ECCV 2014."""


def _result(explained: ExplainedHeat) -> OcclusionResult:
    samples = explained.made.samples
    assert samples is not None, "occlusion counts its places"
    return {
        "view": "occlusion",
        "width": explained.geometry.width,
        "height": explained.geometry.height,
        "method": "occlusion",
        "samples": samples,
        **explained.evidence(),
    }


async def _run(explanation: Explanation) -> JobResult[OcclusionResult | RenderedImage]:
    return await explain_heat(explanation, METHOD, _result)


OCCLUSION = View(
    name="occlusion",
    summary="which pixels a class, a box or an area depends on, by covering one place after another",
    options=HEAT_OPTIONS,
    forms=HEAT_FORMS,
    result=OcclusionResult,
    run=_run,
    heat_from_copies=always,
)
