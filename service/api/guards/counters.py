"""The counters of rate limits: in memory, at most so many, without a thread."""

import time
from collections import OrderedDict
from collections.abc import Callable
from math import floor

from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport

MOST_COUNTERS = 100_000
"""Some 30 MB. Above it those that nobody hit for longest are forgotten, and their clients begin anew."""


class Counters(Storage, SlidingWindowCounterSupport):
    """A storage for the library `limits`, for one event loop.

    The library's own starts a thread that visits every counter 100 times a second, and keeps as many as clients make.

    Windows are aligned: each lasts `expiry` seconds. What was counted in the last window weighs as much as the part of
    it that a window ending now still covers.

    Args:
        clock: seconds that only ever grow.
        most: how many counters are kept.
    """

    STORAGE_SCHEME = ["foveal-memory"]  # noqa: RUF012  # as the library declares it

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = MOST_COUNTERS
    ) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        # The number of a window, and the counts of the one before it and of it.
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        window, before, current, left = self._state(key, expiry)
        if floor(before * left / expiry) + current + amount > limit:
            return False
        self._counts[key] = (window, before, current + amount)
        self._counts.move_to_end(key)
        while len(self._counts) > self._most:
            self._counts.popitem(last=False)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        _, before, current, left = self._state(key, expiry)
        return before, left, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002  # the library's signature
        self.clear(key)

    def seconds_until_free(self, key: str, limit: int, expiry: int) -> float:
        """Return the seconds until one more hit is allowed, if there is none before; 0 where it is allowed now."""
        _, before, current, left = self._state(key, expiry)
        if current >= limit:  # they weigh less only in the next window
            before, current, passed = current, 0, left
            left = float(expiry)
        else:
            passed = 0.0
        # The whole part of the weight must be `room` at most: the weight itself less than the next number.
        room = limit - 1 - current
        if floor(before * left / expiry) <= room:
            return passed
        return passed + left - (room + 1) * expiry / before

    def _state(self, key: str, expiry: int) -> tuple[int, int, int, float]:
        """Return the window's number, the counts of the one before and of it, and the seconds that are left of it."""
        now = self._clock()
        window = floor(now / expiry)
        left = (window + 1) * expiry - now
        then, before, current = self._counts.get(key, (window, 0, 0))
        if then == window - 1:
            before, current = current, 0
        elif then != window:
            before, current = 0, 0
        return window, before, current, left

    # What other strategies of the library would use.

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        window, before, current, _ = self._state(key, expiry)
        self._counts[key] = (window, before, current + amount)
        return current + amount

    def get(self, key: str) -> int:
        return self._counts.get(key, (0, 0, 0))[2]

    def get_expiry(self, key: str) -> float:  # noqa: ARG002  # the library's signature
        return self._clock()

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        forgotten = len(self._counts)
        self._counts.clear()
        return forgotten

    def clear(self, key: str) -> None:
        self._counts.pop(key, None)


def whole_seconds(seconds: float) -> int:
    """Return what `Retry-After` says: whole seconds, never 0, and never too few."""
    return floor(seconds) + 1
