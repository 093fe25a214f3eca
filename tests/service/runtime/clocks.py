"""A clock that only a test moves."""


class ManualClock:
    """Returns `now`, in seconds, whenever it is read."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
