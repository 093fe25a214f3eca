"""Whose turn it is: the time of the workers, shared out among the lanes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

L = TypeVar("L")

SMOOTHING = 0.25
"""How far one batch moves what the next batch of its lane is expected to be like."""
HOLD_SECONDS = 0.01
"""How long a worker waits at most for the next image of a lane that is owed time, before it takes a long batch."""
_LONGEST_GAP = 4 * HOLD_SECONDS


@dataclass(slots=True, eq=False)
class Seat(Generic[L]):
    """A lane among the others. Times are seconds of cores.

    Attributes:
        lane: whose seat it is.
        cores: how many cores a batch occupies.
        model: what all lanes of one model share; None: no other lane runs it.
        spent: up to where the lane has used its share, on the scale of `Turns`.
        expected: what its next batch is likely to take.
        ended_at: when its last batch ended, in seconds of the clock.
        gap: how long after that its next image usually comes.
    """

    lane: L
    cores: int = 1
    model: object = None
    spent: float = 0.0
    expected: float = 0.0
    ended_at: float = -math.inf
    gap: float = _LONGEST_GAP


class Turn:
    """One batch from its taking to its end.

    Attributes:
        seat: of its lane.
        low_priority: it comes from the lane's low-priority line.
        began: when it was taken, in seconds of the workers' clock.
        charged: what the lane has paid for it in advance.
        ended: whether its run is over, so that the lane may run the next one.
        given_up: whether nothing waits for it any more, because it did not end.
        jobs: the lane's own.
        instance: the lane's own.
        running: how many images are in the network now; 0 before and after.
        since: when that run began, in seconds of the clock.
        size: how many jobs it has.
    """

    __slots__ = (
        "began",
        "charged",
        "ended",
        "given_up",
        "instance",
        "jobs",
        "low_priority",
        "running",
        "seat",
        "since",
        "size",
    )

    def __init__(self, seat: Seat[Any], began: float, low_priority: bool) -> None:  # noqa: FBT001  # a keyword costs more
        self.seat = seat
        self.low_priority = low_priority
        self.began = self.since = began
        self.charged = seat.expected
        self.ended = self.given_up = False
        self.jobs: Any = None
        self.instance: Any = None
        self.running = 0
        self.size = 1


class Turns(Generic[L]):
    """Start-time fair queuing: the lane that has used the least of its share goes first.

    A lane that was idle starts where the others are, so that it saves nothing up. A batch is charged with what it is
    expected to take when it begins, and with the rest when it ends. Where a lane has no other beside it, nothing is
    changed or delayed. Source: Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996.

    A few clients that wait for each answer leave their lane empty between two images. Without `held_until`, a long
    batch of a flood would come between them each time: on one worker they would get an eighth of their time instead
    of half. Source: Iyer and Druschel, "Anticipatory scheduling", SOSP 2001.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_of(self, seat: Seat[L]) -> float:
        """Return where the next batch of the lane starts; the smallest goes first."""
        return max(self._now, seat.spent)

    def held_until(self, seat: Seat[L], others: Iterable[Seat[L]], now: float) -> float:
        """Return until when a batch of the lane had better wait for another lane; not after `now` where it need not.

        It waits for a lane that is owed time and whose next image is likely to come at once, and no longer than the
        batch itself would take.
        """
        start, longest = self.start_of(seat), min(HOLD_SECONDS, seat.expected)
        return max(
            (
                other.ended_at + longest
                for other in others
                if other is not seat and other.gap < longest and self.start_of(other) < start
            ),
            default=now,
        )

    def begin(self, seat: Seat[L], at: float, *, low_priority: bool, since: float) -> Turn:
        """Charge the lane for the batch that it begins at this time of the clock, and that was ready since another."""
        gap = since - seat.ended_at
        if gap < 0.0:
            gap = 0.0
        elif gap > _LONGEST_GAP:
            gap = _LONGEST_GAP
        seat.gap += (gap - seat.gap) * SMOOTHING
        self._now = start = max(self._now, seat.spent)
        seat.spent = start + seat.expected
        return Turn(seat, at, low_priority)

    def settle(self, turn: Turn, at: float, beside: float = 0.0) -> float:
        """Charge the lane for what the batch took until this time of the clock, in place of what was expected.

        Return how much more that is.

        `beside` is what its jobs cost elsewhere, in seconds of a core. A batch that was given up costs no more than
        expected: the images that come after it are not to blame.
        """
        seat = turn.seat
        if turn.given_up:
            return 0.0
        if not turn.low_priority:
            seat.ended_at = at
        taken = (at - turn.began) * seat.cores + beside
        more = taken - turn.charged
        seat.spent += more
        seat.expected += (taken - seat.expected) * SMOOTHING
        return more
