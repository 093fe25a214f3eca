"""How long a model that was loaded for a request stays: so two that do not fit together do not load all the time."""

from typing import NamedTuple
from weakref import WeakKeyDictionary

from service.runtime.model import Model
from service.runtime.workers import Clock


class _Stay(NamedTuple):
    """Until when a model stays, and until when it has stayed as long as its loading took."""

    until: float
    paid: float


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
        self._stays: WeakKeyDictionary[Model, _Stay] = WeakKeyDictionary()

    def begin(self, model: Model, loading_seconds: float) -> None:
        """Note that a model was loaded just now, and how long that took."""
        if self.seconds:
            now = self._clock()
            self._stays[model] = _Stay(
                now + max(self.seconds, loading_seconds), now + loading_seconds
            )

    def left(self, model: Model, *, alternates: bool = False) -> float:
        """Return how many seconds a model still stays; 0 where it may go.

        Args:
            model: it.
            alternates: whether it makes room for one that takes turns with it in the same requests: then it stays only
                for as long as its loading took, since to stay longer would delay each of these requests.
        """
        stay = self._stays.get(model)
        if stay is None:
            return 0.0
        return max(0.0, (stay.paid if alternates else stay.until) - self._clock())
