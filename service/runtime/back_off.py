"""When a network runs again after runs that did not end: after a rest, and then one batch at a time."""

import math

LONGEST_SECONDS = 300.0
CALM_TIMES = 6
"""A network that had no stuck run for so many times the limit of a run has all its runs again."""


class BackOff:
    """Keeps a network whose runs get stuck again and again from holding the threads that others need too.

    One stuck run changes nothing: a single image would keep the model from everybody else. A second one soon after it
    makes the network rest, for as long as it held its thread. Each further one doubles that, up to `LONGEST_SECONDS`.
    All times are seconds of one clock.

    Attributes:
        seconds: how long the last rest took; 0 where there was none.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._until = self._calm_at = -math.inf

    def note_stuck(self, now: float, limit_seconds: float) -> None:
        """Note a run that was given up, because it did not end within its limit."""
        if now < self._until:  # it began before the rest
            return
        is_first = now >= self._calm_at
        self.seconds = (
            0.0 if is_first else min(max(2 * self.seconds, limit_seconds), LONGEST_SECONDS)
        )
        self._until = now + self.seconds
        self._calm_at = self._until + CALM_TIMES * limit_seconds

    def left_seconds(self, now: float) -> float:
        """Return for how long the network rests yet; 0 where it does not."""
        return max(0.0, self._until - now)

    def is_cautious(self, now: float) -> bool:
        """Whether the network had rested, and was not calm for long enough since."""
        return self.seconds > 0 and now < self._calm_at
