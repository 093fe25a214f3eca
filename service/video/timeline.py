"""When a video's frames are shown, for a request that depends on the whole: read without decoding where possible."""

import threading

from service.video.allowed import ALL, Allowed
from service.video.container import MOST_PIXELS, OpenVideo, opened_video
from service.video.decoding import FrameDecoder
from service.video.kept import Kept
from service.video.packets import PacketReader
from service.video.source import Source


def shown_times(
    source: Source,
    stopped: threading.Event,
    allowed: Allowed = ALL,
    most_pixels: int = MOST_PIXELS,
    most: Kept | None = None,
) -> list[float]:
    """Read a file to its end, and return when its frames are shown, in seconds from its start and in order.

    Packets say it in almost every file. If they do not, the file is decoded for it, as `open_video` allows it.

    Raises:
        VideoError: the file can not be opened.
        TooManyPixelsError: it takes more memory than was counted.
    """
    with opened_video(source, allowed, most_pixels, most) as video:
        times = _stored_times(video, stopped)
    if times is not None:
        return times
    with opened_video(source, allowed, most_pixels, most) as video:
        return _decoded_times(video, stopped)


def _stored_times(video: OpenVideo, stopped: threading.Event) -> list[float] | None:
    times: list[float] = []
    for group in PacketReader(video, stopped).groups():
        stamps = group.stamps()
        if stamps is None:
            return None
        times.extend(video.seconds(stamp) for stamp in stamps)
    return sorted(times)


def _decoded_times(video: OpenVideo, stopped: threading.Event) -> list[float]:
    reader = PacketReader(video, stopped)
    decoder = FrameDecoder(video, reader, lambda _number, _seconds: True, stopped)
    return [frame.seconds for frame in decoder.frames(plan=False)]
