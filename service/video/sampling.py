"""Which frames of a video are wanted: by time, by number, or a count of evenly spaced ones."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames are wanted; exactly one of the three is set.

    `fps`: the first frame at or after each multiple of 1/fps seconds, each frame once. `every_n`: the first frame, then
    every n-th. `count`: the video is divided into so many equal parts; of each, the frame that is shown in its middle.
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
    """Wants the first frame, then every n-th."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, number: int, _: float) -> bool:
        return number % self._step == 0


class These:
    """Wants the frames with these numbers."""

    def __init__(self, numbers: frozenset[int]) -> None:
        self.numbers = numbers

    def __call__(self, number: int, _: float) -> bool:
        return number in self.numbers


Wants = EverySeconds | EveryNth | These
"""Called for each frame in order, with its number and its time in seconds; returns whether the frame is wanted."""


def wants_of(sampling: Sampling, times: Sequence[float] = ()) -> Wants:
    """Return the function that decides which frames are wanted.

    Args:
        sampling: which frames are wanted.
        times: the time of each frame, in seconds; read only for `count`.
    """
    if sampling.fps is not None:
        return EverySeconds(1 / sampling.fps)
    if sampling.every_n is not None:
        return EveryNth(sampling.every_n)
    assert sampling.count is not None
    return These(_shown_evenly(times, sampling.count))


def _shown_evenly(times: Sequence[float], count: int) -> frozenset[int]:
    """Return the numbers of the frames that are shown in the middle of each of `count` equal parts."""
    if not times:
        return frozenset()
    if count >= len(times):
        return frozenset(range(len(times)))
    last = times[-1] - times[0]
    end = last + last / max(1, len(times) - 1)
    moments = (times[0] + end * (share + 0.5) / count for share in range(count))
    return frozenset(max(0, bisect_right(times, moment + 1e-9) - 1) for moment in moments)
