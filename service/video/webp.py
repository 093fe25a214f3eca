"""An animated WebP → the wanted frames, each with its time: its headers are read before anything is decoded.

FFmpeg reads no animated WebP, so libwebp composes the frames, as browsers do.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from service.errors import BrokenVideoError, NoFramesError
from service.video.frame import HELD_BYTES_PER_PIXEL, check_pixels, over_white
from service.video.reader import (
    Counts,
    Ended,
    VideoInfo,
    VideoLimits,
    refuse_duration,
    refuse_frames,
)
from service.video.sampling import Sampling, wants_of
from service.video.source import Source

MOST_CHUNKS = 1_000_000
"""After so many chunks the file ends: a hostile one may consist of nothing else."""
_CANVAS_AT, _FIRST_CHUNK_AT, _DURATION_AT = 24, 12, 12


@dataclass(frozen=True, slots=True)
class WebPFrame:
    """One frame: its number, from 0, its time from the start in seconds, and its composed pixels, RGB or RGBA."""

    number: int
    seconds: float
    composed: Image.Image
    max_pixels: int

    @property
    def held_bytes(self) -> int:
        """About how many bytes the frame and the image made of it take."""
        return HELD_BYTES_PER_PIXEL * self.composed.width * self.composed.height

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB, alpha composited over white."""
        return over_white(self.composed)


class AnimatedWebP:
    """An opened animation, with the interface of `Clip`: iterate it once, on one thread; any thread may call `stop`.

    Args:
        source: the file; it is read whole.
        sampling: which frames are wanted.
        limits: the limits of a video.

    Raises:
        VideoError: the file can not be read, or its headers declare more than the limits allow.
        TooManyPixelsError: its frames are too large.
    """

    def __init__(self, source: Source, sampling: Sampling, limits: VideoLimits) -> None:
        self.counts = Counts()
        self.ended: Ended = "complete"
        self.detail = ""
        self._limits = limits
        self._stopped = threading.Event()
        source.seek(0)
        self._parts = _read_parts(source.read())
        starts, seconds = self._parts.starts, self._parts.seconds
        check_pixels(self._parts.width, self._parts.height, limits.max_pixels)
        refuse_duration(seconds, limits)
        if not starts:
            raise NoFramesError("The video ends before its first frame.")
        wants = wants_of(sampling, starts)
        self._wanted = {number for number, at in enumerate(starts) if wants(number, at)}
        refuse_frames(len(self._wanted), limits)
        self.info = VideoInfo(
            container="webp",
            codec="webp",
            width=self._parts.width,
            height=self._parts.height,
            rotation=0,
            fps=round(len(starts) / seconds, 3) if seconds else None,
            seconds=round(seconds, 3),
            expected=len(self._wanted),
        )

    def __iter__(self) -> Iterator[WebPFrame]:
        """Yield the wanted frames.

        Raises:
            BrokenVideoError: no frame can be decoded.
        """
        if not self._parts.is_whole:
            self.ended, self.detail = "truncated", "The video is cut short: its end is missing."
        try:
            yield from self._frames()
        except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError):
            self.ended = "truncated"
            self.detail = f"The video is damaged: frame {self.counts.decoded} can not be decoded."
        self.counts.skipped = len(self._parts.starts) - self.counts.decoded
        if not self.counts.sampled and not self._stopped.is_set():
            raise BrokenVideoError(
                "None of the video's wanted frames can be decoded: the file is damaged or cut short. Send the whole "
                "file, or encode it again."
            )

    def _frames(self) -> Iterator[WebPFrame]:
        last = max(self._wanted)
        with Image.open(BytesIO(self._parts.data), formats=["WEBP"]) as image:
            for number, seconds in enumerate(self._parts.starts[: last + 1]):
                if self._stopped.is_set():
                    return
                image.seek(number)
                image.load()
                self.counts.decoded += 1
                if number in self._wanted:
                    self.counts.sampled += 1
                    yield WebPFrame(number, seconds, image.copy(), self._limits.max_pixels)

    def stop(self) -> None:
        """Make the iteration end before its next frame."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the headers say: the canvas, when each frame is shown, the duration, and the bytes up to the last frame."""

    width: int
    height: int
    starts: list[float]
    seconds: float
    data: bytes
    is_whole: bool


def _read_parts(body: bytes) -> _Parts:
    """Read the chunks of RFC 9649, section 2.7; `data` is a file of those that are whole."""
    if len(body) < _CANVAS_AT + 6:
        raise BrokenVideoError("The WebP ends within its header. Send the whole file.")
    width, height = (
        1 + int.from_bytes(body[at : at + 3], "little") for at in (_CANVAS_AT, _CANVAS_AT + 3)
    )
    declared = 8 + int.from_bytes(body[4:8], "little")
    starts: list[float] = []
    milliseconds, at = 0, _FIRST_CHUNK_AT
    for _ in range(MOST_CHUNKS):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        if at + 8 + size > min(len(body), declared) or at + 8 > len(body):
            break
        if body[at : at + 4] == b"ANMF":
            starts.append(milliseconds / 1000)
            field = at + 8 + _DURATION_AT
            milliseconds += int.from_bytes(body[field : field + 3], "little")
        at += 8 + size + size % 2
    data = body[:at].ljust(at, b"\0")
    data = data[:4] + (at - 8).to_bytes(4, "little") + data[8:]
    is_whole = declared <= len(body) + 1 and at >= declared - 1
    return _Parts(width, height, starts, milliseconds / 1000, data, is_whole)
