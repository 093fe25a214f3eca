"""Drawn frames → an MP4, returned piece by piece while it is written."""

from fractions import Fraction

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

_ENCODERS = {
    # With zerolatency no frame waits for a later one: each is returned as soon as it is drawn. Without subpixels x264
    # keeps no planes of them, 6 bytes for a pixel of the frame; with the quality given, files are up to a third larger.
    "libx264": {
        "preset": "veryfast",
        "crf": "20",
        "tune": "zerolatency",
        "x264-params": "subme=0",
    },
    "mpeg4": {"qmin": "2", "qmax": "6"},
}
"""Encoders and their options, the preferred first. PyAV's wheels have libx264; every FFmpeg has mpeg4."""
_KEY_EVERY = 12
"""Frames from one key frame to the next."""
_TICKS = 90_000
"""Units of time per second."""
_MOST_FRAMES_PER_SECOND = 60
"""What the H.264 level allows for, which players look at; each frame has its own time all the same. The units of time
in its place make it the highest level, whose tables of vectors take 17 MiB."""
_COPIED_LINES = 64
"""So many lines of an image are copied at once: a copy of all would take 6 bytes for each pixel."""
_ENCODER_BYTES = 8 << 20
"""What an encoder takes beside its pixels: x264 takes memory in steps of 2 MiB, and malloc keeps some."""
_ENCODER_BYTES_PER_PIXEL = 22
"""x264 took 11 bytes, the drawn image and its copies take 8, and what is sent of noise takes up to 3."""


def encoder_bytes(pixels: int) -> int:
    """Return about how many bytes a film of frames of so many pixels takes at most, with the image that is added."""
    return _ENCODER_BYTES + _ENCODER_BYTES_PER_PIXEL * pixels


class Film:
    """A fragmented MP4 (ISO/IEC 14496-12, section 8.8): written bytes never change, so each can be sent at once.

    Every frame is shown from its own time until the next frame. Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        options = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}
        self._container: OutputContainer | None = av.open(
            self._sink, "w", format="mp4", options=options
        )
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, image: Image.Image, seconds: float) -> bytes:
        """Append a frame and return the bytes that are ready.

        Args:
            image: mode RGB; the first one sets the size of the MP4, others are resized to it.
            seconds: its time from the start.
        """
        container = self._container
        assert container is not None, "the film has ended"
        stream = self._stream = self._stream or self._begin(container, image)
        size = (stream.width, stream.height)
        frame = _frame_of(image if image.size == size else image.resize(size), str(stream.pix_fmt))
        now = max(self._last + 1, round(seconds * _TICKS))
        gap = now - self._last if self._last >= 0 else _TICKS
        self._last = now
        frame.pts, frame.time_base = now, Fraction(1, _TICKS)
        for packet in stream.encode(frame):
            # Matters for the last frame only: any other is shown until the next.
            packet.duration = gap
            container.mux(packet)
        return self._sink.take()

    def end(self) -> bytes:
        """Finish the MP4, give up the encoder, and return the remaining bytes; again returns none."""
        container, stream = self._container, self._stream
        if container is None:
            return b""
        self._container = self._stream = None
        if stream is not None:
            container.mux(stream.encode(None))
        container.close()
        return self._sink.take()

    def _begin(self, container: OutputContainer, image: Image.Image) -> VideoStream:
        encoder = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = container.add_stream(
            encoder, rate=_MOST_FRAMES_PER_SECOND, options=_ENCODERS[encoder]
        )
        assert isinstance(stream, VideoStream)
        # The color planes of yuv420p have half the size, so both sides must be even.
        stream.width, stream.height = (max(2, side - side % 2) for side in image.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.thread_count = 1
        context.gop_size = _KEY_EVERY
        return stream


def _frame_of(image: Image.Image, layout: str) -> VideoFrame:
    """Return an image, mode RGB, as the encoder reads it. Not all of its copies are there at once."""
    frame = VideoFrame(*image.size, "rgb24")
    (plane,) = frame.planes
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(image.height, plane.line_size)
    for top in range(0, image.height, _COPIED_LINES):
        part = np.asarray(image.crop((0, top, image.width, min(image.height, top + _COPIED_LINES))))
        lines[top : top + len(part), : 3 * image.width] = part.reshape(len(part), -1)
    return frame.reformat(format=layout)


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
