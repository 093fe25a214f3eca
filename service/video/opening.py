"""A video's bytes → an opened video, by the reader that fits its format."""

from typing import TypeAlias

from service.video import signature
from service.video.frame import Frame
from service.video.reader import Clip, VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source
from service.video.webp import AnimatedWebP, WebPFrame

AnyClip: TypeAlias = Clip | AnimatedWebP
AnyFrame: TypeAlias = Frame | WebPFrame


def open_clip(source: Source, sampling: Sampling, limits: VideoLimits) -> AnyClip:
    """Return the opened video.

    Raises:
        VideoError: the file can not be read, or its header declares more than the limits allow.
        TooManyPixelsError: its frames are too large.
    """
    source.seek(0)
    if signature.is_animated_webp(source.read(signature.READ_BYTES)):
        return AnimatedWebP(source, sampling, limits)
    return Clip(source, sampling, limits)
