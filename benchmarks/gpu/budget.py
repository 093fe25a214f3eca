"""How the time of a run is shared out among its steps, so that the run ends when it must."""

import time
from collections.abc import Callable, Sequence

REPORT_SHARE = 0.05
MOST_REPORT_SECONDS = 15.0
"""The end of the run belongs to the page and the plot."""


class Budget:
    """The seconds of a run.

    Each step may take its share of what is left, by its weight among the steps that have not begun. What a step does
    not use goes to all that follow.

    Args:
        seconds: how long the whole run may take, from now on.
        clock: returns seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._reserve = min(MOST_REPORT_SECONDS, REPORT_SHARE * seconds)

    def left(self) -> float:
        """Return the seconds until the run must have ended, never less than 0."""
        return max(0.0, self._end - self._clock())

    def limit(self, weights: Sequence[float]) -> float:
        """Return how many seconds the first of the steps with these weights may take."""
        free = max(0.0, self.left() - self._reserve)
        return free * weights[0] / sum(weights)
