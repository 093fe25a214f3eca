"""How many perturbed copies an explanation has the time for, by the pace of its first ones."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.errors import DeadlineError
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.heads.targets import Target

Copy = Callable[[], Frame]

FIRST_COPIES = 8
"""How many copies run before the others are planned: as many as are in flight at once."""
HEAT_SHARE = 0.6
"""The share of the time left that the copies of a heat may take; the rest is for its scores and its drawing."""
SCORE_SHARE = 0.6
"""The share of the time left then that the copies of its scores may take."""
FIRST_SHARE = 0.3
"""The share of the heat's time that the first copies may take: where they take more, the others can not fit in."""
LATE_SHARE = 0.8
"""The share of the time left that planned copies may take where others slow them down; then they are given up."""


@dataclass(frozen=True, slots=True)
class Paced:
    """The scores of some copies, and the seconds for each: with several in flight, and beside whatever else ran."""

    scores: list[float]
    seconds_per_copy: float

    def affords(self, seconds: float, most: int) -> int:
        """Return how many copies fit into so many seconds, `most` at most."""
        if self.seconds_per_copy * most <= seconds:
            return most
        return max(0, int(seconds / self.seconds_per_copy))


async def score_within(
    explanation: Explanation, copies: Iterable[Copy], target: Target, seconds: float
) -> Paced | None:
    """Return the scores of all copies, and their pace; None where they take longer: those that wait are dropped.

    Raises:
        FovealError: a run failed.
    """
    began = explanation.clock()
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            scores = await explanation.score_copies(copies, target)
    except TimeoutError:
        return None
    return Paced(scores, (explanation.clock() - began) / max(1, len(scores)))


async def score_first(
    explanation: Explanation, copies: Sequence[Copy], target: Target
) -> Paced | None:
    """Return the scores and the pace of a heat's first copies; None where they take too much of the time left.

    Raises:
        FovealError: a run failed.
    """
    seconds = FIRST_SHARE * HEAT_SHARE * explanation.left()
    return await score_within(explanation, copies[:FIRST_COPIES], target, seconds)


async def score_affordable(
    explanation: Explanation, copies: Sequence[Copy], target: Target, *, least: int
) -> list[float] | None:
    """Return the scores of the first copies, of as many as there is time for; None where that is under `least`.

    Args:
        explanation: has the clock and the deadline.
        copies: the most that are wanted; any number of the first ones is of use.
        target: what is scored.
        least: how many show something.

    Raises:
        FovealError: a run failed.
    """
    until = explanation.clock() + HEAT_SHARE * explanation.left()
    first = await score_first(explanation, copies, target)
    if first is None:
        return None
    done = len(first.scores)
    count = done + first.affords(until - explanation.clock(), len(copies) - done)
    if count < least:
        return None
    rest = _until(explanation, copies[done:count], least - done, until)
    paced = await score_within(explanation, rest, target, LATE_SHARE * explanation.left())
    return None if paced is None else first.scores + paced.scores


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
        f"{explanation.model.name} can not run so many in the {explanation.timeout_seconds:.3g} s that were left. "
        f"Allow more time with X-Timeout-Ms{instead}."
    )


def _until(
    explanation: Explanation, copies: Sequence[Copy], least: int, until: float
) -> Iterator[Copy]:
    """Yield the copies as they are drawn, after the `least` first ones only while there is time."""
    for number, copy in enumerate(copies):
        if number >= least and explanation.clock() >= until:
            return
        yield copy
