"""`view=occlusion`: which pixels a result depends on, by the scores of copies with a covered patch."""

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
from service.explain.pace import HEAT_SHARE, LATE_SHARE, score_first, score_within, too_slow
from service.explain.perturbed_copies import SlidingPatch, sliding_patch
from service.explain.view import View
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_PLACES = 144
"""How many places to cover where the request does not say, and there is time for them."""
FEWEST_PLACES = 36
"""Fewer show nothing; a request may still ask for fewer."""


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
    heat = patch.heat(scores, subject.score)
    return MadeHeat(heat, f"occlusion, {patch.count} places", samples=patch.count)


async def _affordable(
    explanation: Explanation, subject: Subject
) -> tuple[SlidingPatch, list[float]]:
    """Return the finest usual grid that there is time for, and its scores.

    The first copies, whose pace decides, are those of the coarsest grid; where it stays at that, they count.

    Raises:
        DeadlineError: there is no time for the coarsest grid.
    """
    until = explanation.clock() + HEAT_SHARE * explanation.left()
    coarsest = sliding_patch(FEWEST_PLACES)
    copies = await asyncio.to_thread(coarsest.copies, subject.frame)
    first = await score_first(explanation, copies, subject.target)
    if first is None:
        raise too_slow(explanation, FEWEST_PLACES)
    count = first.affords(until - explanation.clock(), USUAL_PLACES)
    patch, done = sliding_patch(max(count, FEWEST_PLACES)), first.scores
    if count + len(done) < FEWEST_PLACES:
        raise too_slow(explanation, FEWEST_PLACES)
    if patch.count > coarsest.count:
        copies, done = await asyncio.to_thread(patch.copies, subject.frame), []
    seconds = LATE_SHARE * explanation.left()
    paced = await score_within(explanation, copies[len(done) :], subject.target, seconds)
    if paced is None:
        raise too_slow(explanation, FEWEST_PLACES)
    return patch, done + paced.scores


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
)
