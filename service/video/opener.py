"""How a video gets to be opened: on a thread that may be given up while it still opens it."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from service.video.opening import AnyClip, open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source


class Opening(Protocol):
    """A video that is being opened."""

    def open(self) -> AnyClip:
        """Return it opened; blocking, once, on the thread that then iterates it.

        Raises:
            FovealError: it can not be read.
        """
        ...

    def stop(self) -> None:
        """Nobody needs it any more, whether it is open or not; any thread may say so."""
        ...


OpenerOf: TypeAlias = Callable[[Source, Sampling, VideoLimits], Opening]
"""Returns what opens a video, and does nothing yet."""


class OpeningHere:
    """Opens a video in this process. What its libraries do nobody can stop."""

    def __init__(self, source: Source, sampling: Sampling, limits: VideoLimits) -> None:
        self._wanted = (source, sampling, limits)

    def open(self) -> AnyClip:
        """Return the opened video; see `open_clip`."""
        return open_clip(*self._wanted)

    def stop(self) -> None:
        """A clip that is open is stopped by itself."""
