"""A video's bytes → an opened video, by the reader that fits its format."""

from collections.abc import Iterator
from typing import Protocol

from PIL import Image

from service.video import signature
from service.video.allowed import ALL
from service.video.animation import Animation
from service.video.apng import read_apng
from service.video.extent import is_animated_png
from service.video.gif import read_gif
from service.video.kept import Kept
from service.video.reader import Clip, Counts, Ended, VideoInfo, VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source
from service.video.webp import read_webp


class AnyFrame(Protocol):
    """A frame: its number in the video, from 0, and its time from the video's start in seconds."""

    @property
    def number(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def max_pixels(self) -> int: ...

    @property
    def pixels(self) -> int:
        """How many it has."""
        ...

    @property
    def held_bytes(self) -> int:
        """About how many bytes the frame and the image made of it take."""
        ...

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB; it may take milliseconds.

        Raises:
            TooManyPixelsError, BrokenVideoError: it has none.
        """
        ...


class AnyClip(Protocol):
    """An opened video. Iterate it once, on one thread; any thread may call `stop`."""

    counts: Counts
    ended: Ended
    detail: str
    info: VideoInfo
    kept: Kept | None
    """What its decoder keeps at most; None for an animation."""

    @property
    def pixels(self) -> int:
        """How many the largest frame has by the header; 0: it does not say."""
        ...

    def allow(self, pixels: int) -> None:
        """Decode no frame of many more pixels; before the iteration."""
        ...

    def __iter__(self) -> Iterator[AnyFrame]: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


def open_clip(source: Source, sampling: Sampling, limits: VideoLimits) -> AnyClip:
    """Return the opened video.

    Raises:
        VideoError: the file can not be read, or its header declares more than the limits allow.
        TooManyPixelsError: its frames are too large.
    """
    source.seek(0)
    head = source.read(signature.READ_BYTES)
    if limits.allowed is not ALL and not _is_still_png(head, source):
        limits.allowed.require_format(head)
    if signature.is_animated_webp(head):
        return Animation(read_webp(_whole(source), limits.max_animation_frames), sampling, limits)
    if signature.is_png(head) and is_animated_png(source):
        return Animation(read_apng(_whole(source), limits.max_animation_frames), sampling, limits)
    if signature.is_gif(head):
        return Animation(
            read_gif(_whole(source), most_frames=limits.max_animation_frames), sampling, limits
        )
    return Clip(source, sampling, limits)


def _is_still_png(head: bytes, source: Source) -> bool:
    return signature.is_png(head) and not is_animated_png(source)


def _whole(source: Source) -> bytes:
    source.seek(0)
    return source.read()
