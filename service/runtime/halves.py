"""Half of the time for single images: jobs of low priority get no more together, in however many lanes they wait."""


class Halves:
    """Counts what single images and jobs of low priority take of the workers, as `Turns` does for lanes.

    `Turns` shares the time among lanes. A few videos, explanations and chains fill the low-priority lines of several
    models, each of which is a lane: without a limit for all of them, single images would get one part of many.

    What is idle saves nothing up. All methods are called with the workers' condition held; times are seconds of cores.
    """

    def __init__(self) -> None:
        self._now = self._single = self._low = 0.0

    @property
    def low_priority_yields(self) -> bool:
        """Whether jobs of low priority have had their half, and leave the next batch to single images."""
        return self._low > max(self._now, self._single)

    def begin(self, seconds: float, *, low_priority: bool) -> None:
        """Charge a batch with what it is expected to take."""
        if low_priority:
            self._now = max(self._now, self._low)
            self._low = self._now + seconds
        else:
            self._now = max(self._now, self._single)
            self._single = self._now + seconds

    def settle(self, seconds: float, *, low_priority: bool) -> None:
        """Charge a batch with what it took beyond that."""
        if low_priority:
            self._low += seconds
        else:
            self._single += seconds
