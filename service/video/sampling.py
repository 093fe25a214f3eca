"""Which frames of a clip are wanted: by the clock, by number, or so many evenly."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames are wanted; one of the three is set.

    `fps`: the first at or after every 1/fps seconds, none twice. `every_n`: the first, then each n-th. `count`: so
    many, each the one shown in the middle of an even share of the clip.
    """

    fps: float | None = None
    every_n: int | None = None
    count: int | None = None


class EverySeconds:
    """Wants the first frame at or after each multiple of a period from the first frame on."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._due = -math.inf

    def __call__(self, _: int, seconds: float) -> bool:
        if seconds < self._due - 1e-6:
            return False
        self._due = (math.floor(seconds / self._period + 1e-6) + 1) * self._period
        return True


class EveryNth:
    """Wants the first frame, then each n-th."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, number: int, _: float) -> bool:
        return number % self._step == 0


class These:
    """Wants the frames of these numbers."""

    def __init__(self, numbers: frozenset[int]) -> None:
        self.numbers = numbers

    def __call__(self, number: int, _: float) -> bool:
        return number in self.numbers


Wants = EverySeconds | EveryNth | These
"""Asked of each frame in turn, by its number and its time in seconds."""


def wants_of(sampling: Sampling, times: Callable[[], Sequence[float]]) -> Wants:
    """Return what tells which frames are wanted.

    Args:
        sampling: what was asked for.
        times: gives when each frame is shown, in seconds; called only where all must be known, for it reads the clip.
    """
    if sampling.fps is not None:
        return EverySeconds(1 / sampling.fps)
    if sampling.every_n is not None:
        return EveryNth(sampling.every_n)
    assert sampling.count is not None
    return These(_shown_evenly(times(), sampling.count))


def _shown_evenly(times: Sequence[float], count: int) -> frozenset[int]:
    """Return the numbers of the frames that are on the screen in the middle of each of `count` even shares."""
    if not times:
        return frozenset()
    if count >= len(times):
        return frozenset(range(len(times)))
    last = times[-1] - times[0]
    end = last + last / max(1, len(times) - 1)
    moments = (times[0] + end * (share + 0.5) / count for share in range(count))
    return frozenset(max(0, bisect_right(times, moment + 1e-9) - 1) for moment in moments)
