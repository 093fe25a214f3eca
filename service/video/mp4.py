"""Drawn frames → an MP4, handed out piece by piece while it grows."""

from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

CODECS = {"libx264": "h264", "mpeg4": "mpeg4"}
"""The encoders that are tried, best first. PyAV's wheels hold libx264; an FFmpeg without it has its own MPEG-4."""
_OPTIONS = {
    # No frame waits for a later one: each leaves as soon as it is drawn.
    "libx264": {"preset": "veryfast", "crf": "20", "tune": "zerolatency"},
    "mpeg4": {"qmin": "2", "qmax": "6"},
}
_KEY_EVERY = 12
_TICKS = 90_000
MEDIA_TYPE = "video/mp4"


class Film:
    """An MP4 of fragments (ISO/IEC 14496-12, section 8.8): nothing is written twice, so it can be sent as it is made.

    Every frame is shown at its own time, until the next. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        options = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}
        self._container = av.open(self._sink, "w", format="mp4", options=options)
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, image: Image.Image, seconds: float) -> bytes:
        """Append a frame, mode RGB, and return the bytes that are ready; the first one's size is the film's."""
        stream = self._stream or self._begin(image)
        self._stream = stream
        size = (stream.width, stream.height)
        fitting = image if image.size == size else image.resize(size)
        frame = VideoFrame.from_ndarray(np.asarray(fitting), format="rgb24")
        now = max(self._last + 1, round(seconds * _TICKS))
        gap = now - self._last if self._last >= 0 else _TICKS
        self._last = now
        frame.pts, frame.time_base = now, Fraction(1, _TICKS)
        for packet in stream.encode(frame):
            packet.duration = (
                gap  # counts for the last frame alone: others are shown until the next
            )
            self._container.mux(packet)
        return self._sink.take()

    def end(self) -> bytes:
        """Return the rest."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def _begin(self, image: Image.Image) -> VideoStream:
        encoder = next(name for name in CODECS if name in av.codecs_available)
        stream = self._container.add_stream(encoder, rate=_TICKS, options=_OPTIONS[encoder])
        assert isinstance(stream, VideoStream)
        # Halved color planes need even sides.
        stream.width, stream.height = (max(2, side - side % 2) for side in image.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.thread_count = 1
        context.gop_size = _KEY_EVERY
        return stream


class _Sink:
    """A file that can only be written onwards."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
