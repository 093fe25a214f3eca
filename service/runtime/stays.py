"""How long a model that was loaded for a request stays: so two that do not fit together do not load all the time."""

from weakref import WeakKeyDictionary

from service.runtime.model import Model
from service.runtime.workers import Clock


class Stays:
    """Until when each model stays in memory, although another one needs the room.

    A model stays for `seconds` and for at least as long as its loading took: so at most half of the time goes into
    loading, however large the models are.

    Args:
        seconds: how long a model stays after it was loaded; 0: none stays.
        clock: returns seconds.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._until: WeakKeyDictionary[Model, float] = WeakKeyDictionary()

    def begin(self, model: Model, loading_seconds: float) -> None:
        """Note that a model was loaded just now, and how long that took."""
        if self.seconds:
            self._until[model] = self._clock() + max(self.seconds, loading_seconds)

    def left(self, model: Model) -> float:
        """Return how many seconds a model still stays; 0 where it may go."""
        return max(0.0, self._until.get(model, 0.0) - self._clock())
