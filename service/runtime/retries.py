"""When a model that could not be loaded again is tried again: for a request soon, without one after a growing pause."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from service.runtime.model import Model
from service.runtime.workers import Clock

RETRY_SECONDS = 10.0
"""How long a model that could not be loaded again refuses its requests before one of them may try again."""
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last: float


class Retries:
    """The failures of each model since it was loaded last.

    Without requests a model is tried again too: while it answers nothing the service may be not ready, and then no
    request comes. That pause is `RETRY_SECONDS` first and doubles with each failure, up to `LONGEST_PAUSE_SECONDS`.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: WeakKeyDictionary[Model, _Failures] = WeakKeyDictionary()

    def failed(self, model: Model) -> None:
        """Note that a model could not be loaded just now."""
        before = self._failures.get(model)
        count = 1 if before is None else before.count + 1
        self._failures[model] = _Failures(count, self._clock())

    def succeeded(self, model: Model) -> None:
        """Forget the failures of a model, which was loaded."""
        self._failures.pop(model, None)

    def refuses(self, model: Model) -> bool:
        """Return whether the last failure is so recent that a request is refused."""
        failures = self._failures.get(model)
        return failures is not None and self._clock() < failures.last + RETRY_SECONDS

    def left(self, model: Model) -> float:
        """Return in how many seconds a model is tried again without a request; 0 where it is due."""
        failures = self._failures.get(model)
        if failures is None:
            return 0.0
        pause = min(LONGEST_PAUSE_SECONDS, RETRY_SECONDS * 2.0 ** min(failures.count - 1, 10))
        return max(0.0, failures.last + pause - self._clock())
