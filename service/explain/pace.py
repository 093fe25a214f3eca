"""How many perturbed copies an explanation has the time for, by the pace of those that are done."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from service.errors import DeadlineError
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.heads.targets import Target

Copy = Callable[[], Frame]

FIRST_COPIES = 8
"""How many copies show the pace: as many as are in flight at once."""
LEAST_COPIES = 4
"""Fewer copies are no answer; a request may not ask for fewer either."""
HEAT_SHARE = 0.6
"""The share of the time left in which copies of a heat are begun; the rest is for its scores and its drawing."""
SCORE_SHARE = 0.6
"""The share of the time left then that the copies of its scores may take."""
LATE_SHARE = 0.8
"""The share of the time left after which copies that were begun are given up."""


@dataclass(frozen=True, slots=True)
class Paced:
    """The scores of the first copies, and the seconds for each: several in flight, beside whatever else ran."""

    scores: list[float]
    seconds_per_copy: float
    is_whole: bool = True
    """Whether no copy is missing."""

    def affords(self, seconds: float, most: int) -> int:
        """Return how many copies fit into so many seconds, `most` at most."""
        if self.seconds_per_copy * most <= seconds:
            return most
        return max(0, int(seconds / self.seconds_per_copy))


async def score_within(
    explanation: Explanation, copies: Iterable[Copy], target: Target, seconds: float
) -> Paced:
    """Return the scores that are there when all copies are done or the seconds are over; what waits then is dropped.

    Raises:
        FovealError: a run failed.
    """
    scores: list[float] = []
    return await _score_into(scores, explanation, copies, target, seconds)


async def score_affordable(
    explanation: Explanation,
    copies: Iterable[Copy],
    target: Target,
    *,
    least: int = LEAST_COPIES,
    until: float | None = None,
) -> list[float]:
    """Return the scores of the first copies, of as many as there is time for.

    The pace is measured again with each copy. Where it shows that not even `least` will be done, no more are begun.

    Args:
        explanation: has the clock and the deadline.
        copies: the most that are wanted; any number of the first ones is of use.
        target: what is scored.
        least: how many show something.
        until: the clock's time until which copies are begun; None: after `HEAT_SHARE` of the time left.

    Raises:
        FovealError: a run failed.
    """
    if until is None:
        until = explanation.clock() + HEAT_SHARE * explanation.left()
    scores: list[float] = []
    begun = _while_affordable(explanation, copies, scores, least=least, until=until)
    await _score_into(scores, explanation, begun, target, LATE_SHARE * explanation.left())
    return scores


async def _score_into(
    scores: list[float],
    explanation: Explanation,
    copies: Iterable[Copy],
    target: Target,
    seconds: float,
) -> Paced:
    began, is_whole = explanation.clock(), True
    try:
        async with (
            asyncio.timeout(max(0.0, seconds)),
            aclosing(explanation.each_score(copies, target)) as found,
        ):
            async for score in found:
                scores.append(score)  # noqa: PERF401  # those before a timeout are kept
    except TimeoutError:
        is_whole = False
    return Paced(scores, (explanation.clock() - began) / max(1, len(scores)), is_whole)


def _while_affordable(
    explanation: Explanation,
    copies: Iterable[Copy],
    scores: Sequence[float],
    *,
    least: int,
    until: float,
) -> Iterator[Copy]:
    """Yield copies while there is time for them, and for `least` at the pace of those in `scores`."""
    began = explanation.clock()
    for copy in copies:
        now, done = explanation.clock(), len(scores)
        if now >= until:
            return
        pace = (now - began) / max(1, done)
        if done >= FIRST_COPIES and (least - done) * pace > until - now:
            return
        yield copy


def too_slow(explanation: Explanation, least: int, *, samples: bool = True) -> DeadlineError:
    """Return the error for an explanation that can not end in time.

    Args:
        explanation: its model is named.
        least: how many copies it needs to show something.
        samples: whether the view has this option.
    """
    instead = ", or take fewer copies with samples" if samples else ""
    if samples and explanation.card.stages:
        instead = ", take fewer copies with samples, or view=cam&method=eigencam, which needs none"
    return DeadlineError(
        f"view={explanation.request.view} needs {least} perturbed copies to show something, and "
        f"{explanation.model.name} can not run so many within the {explanation.allowed_seconds:.7g} s allowed. "
        f"Allow more time with X-Timeout-Ms{instead}."
    )


def coarse(what: str, done: int, usual: int) -> str | None:
    """Return what an answer says of a heat of fewer copies than show much; None for enough."""
    if done >= usual:
        return None
    return f"There was time for {done} {what}, and {usual} or more show a heat well. Allow more time with X-Timeout-Ms."
