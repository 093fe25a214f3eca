"""Drawn frames → an MP4, returned piece by piece while it is written."""

from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

_ENCODERS = {
    # With zerolatency no frame waits for a later one: each is returned as soon as it is drawn.
    "libx264": {"preset": "veryfast", "crf": "20", "tune": "zerolatency"},
    "mpeg4": {"qmin": "2", "qmax": "6"},
}
"""Encoders and their options, the preferred first. PyAV's wheels have libx264; every FFmpeg has mpeg4."""
_KEY_EVERY = 12
"""Frames from one key frame to the next."""
_TICKS = 90_000
"""Units of time per second."""


class Film:
    """A fragmented MP4 (ISO/IEC 14496-12, section 8.8): written bytes never change, so each can be sent at once.

    Every frame is shown from its own time until the next frame. Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        options = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}
        self._container = av.open(self._sink, "w", format="mp4", options=options)
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, image: Image.Image, seconds: float) -> bytes:
        """Append a frame and return the bytes that are ready.

        Args:
            image: mode RGB; the first one sets the size of the MP4, others are resized to it.
            seconds: its time from the start.
        """
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
            # Matters for the last frame only: any other is shown until the next.
            packet.duration = gap
            self._container.mux(packet)
        return self._sink.take()

    def end(self) -> bytes:
        """Finish the MP4 and return the remaining bytes."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def _begin(self, image: Image.Image) -> VideoStream:
        encoder = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = self._container.add_stream(encoder, rate=_TICKS, options=_ENCODERS[encoder])
        assert isinstance(stream, VideoStream)
        # The color planes of yuv420p have half the size, so both sides must be even.
        stream.width, stream.height = (max(2, side - side % 2) for side in image.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.thread_count = 1
        context.gop_size = _KEY_EVERY
        return stream


class _Sink:
    """A file that can only be appended to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
