"""Whose turn it is: the time of the workers, shared out among the lanes."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

L = TypeVar("L")

SMOOTHING = 0.25
"""How far one batch moves what the next batch of its lane is expected to take."""


@dataclass(slots=True, eq=False)
class Seat(Generic[L]):
    """A lane among the others. Times are seconds of cores.

    Attributes:
        lane: whose seat it is.
        cores: how many cores a batch occupies.
        spent: up to where the lane has used its share, on the scale of `Turns`.
        expected: what its next batch is likely to take.
    """

    lane: L
    cores: int = 1
    spent: float = 0.0
    expected: float = 0.0


class Turn:
    """One batch from its taking to its end.

    Attributes:
        seat: of its lane.
        low_priority: it comes from the lane's low-priority line.
        began: when it was taken, in seconds of the workers' clock.
        charged: what the lane has paid for it in advance.
        ended: whether its run is over, so that the lane may run the next one.
        given_up: whether nothing waits for it any more, because it did not end.
        cargo: the lane's own.
        running: how many images are in the network now; 0 before and after.
        since: when that run began, in seconds of the clock.
    """

    __slots__ = (
        "began",
        "cargo",
        "charged",
        "ended",
        "given_up",
        "low_priority",
        "running",
        "seat",
        "since",
    )

    def __init__(self, seat: Seat[Any], began: float, *, low_priority: bool) -> None:
        self.seat = seat
        self.low_priority = low_priority
        self.began = self.since = began
        self.charged = seat.expected
        self.ended = self.given_up = False
        self.cargo: Any = None
        self.running = 0


class Turns(Generic[L]):
    """Start-time fair queuing: the lane that has used the least of its share goes first.

    A lane that was idle starts where the others are, so that it saves nothing up. A batch is charged with what it is
    expected to take when it begins, and with the rest when it ends. Where a lane has no other beside it, nothing is
    changed or delayed. Source: Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_of(self, seat: Seat[L]) -> float:
        """Return where the next batch of the lane starts; the smallest goes first."""
        return max(self._now, seat.spent)

    def begin(self, seat: Seat[L], at: float, *, low_priority: bool) -> Turn:
        """Charge the lane for the batch that it begins at this time of the clock."""
        turn = Turn(seat, at, low_priority=low_priority)
        self._now = max(self._now, seat.spent)
        seat.spent = self._now + seat.expected
        return turn

    def settle(self, turn: Turn, at: float) -> None:
        """Charge the lane for what the batch took until this time of the clock, in place of what was expected.

        A batch that was given up costs no more than expected: the images that come after it are not to blame.
        """
        if turn.given_up:
            return
        seat = turn.seat
        taken = (at - turn.began) * seat.cores
        seat.spent += taken - turn.charged
        seat.expected += (taken - seat.expected) * SMOOTHING
