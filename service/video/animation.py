"""The stored frames of an animation → the wanted frames as displayed: composed here, as browsers do, over white.

Composition is associative, so a canvas that is white from the start shows what a clear one over white would. It takes
four bytes per pixel in Pillow. At most one canvas, one stored frame and one displayed frame are held at a time.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from PIL import Image

from service.errors import BrokenVideoError, ImageError, NoFramesError, TooManyFramesError
from service.imaging.depth import in_strips
from service.imaging.faults import PILLOW_FAULTS
from service.video.frame import HELD_BYTES_PER_PIXEL, check_pixels, over_white
from service.video.kept import Kept
from service.video.reader import (
    Counts,
    Ended,
    VideoInfo,
    VideoLimits,
    refuse_duration,
    refuse_frames,
)
from service.video.sampling import Sampling, wants_of

Disposal = Literal["keep", "clear", "restore"]
"""What becomes of a frame's area before the next one: it stays, is cleared, or is as it was before the frame."""

READ_FAULTS = (ImageError, Image.DecompressionBombError, *PILLOW_FAULTS)
"""What the readers of still images raise on damaged frames."""


class Part(NamedTuple):
    """One stored frame.

    `box` is its left, top, right and bottom on the canvas, in pixels; `read` decodes it to an image of that size, mode
    RGB or RGBA. `blends`: it is composited over the canvas, not put in its place.
    """

    seconds: float
    box: tuple[int, int, int, int]
    blends: bool
    disposal: Disposal
    read: Callable[[], Image.Image]


class AnimationFile(NamedTuple):
    """What the headers of an animation say; `seconds` is the duration, `is_whole`: its end is there."""

    form: str
    width: int
    height: int
    parts: Sequence[Part]
    seconds: float
    is_whole: bool


def too_many_stored(name: str, most: int) -> TooManyFramesError:
    """Return the error for a file with more than `most` frames."""
    return TooManyFramesError(
        f"The {name} stores more than the {most} frames allowed. Send it in parts, or as MP4."
    )


@dataclass(frozen=True, slots=True)
class ComposedFrame:
    """One frame: its number, from 0, its time from the start in seconds, and its displayed pixels, mode RGB."""

    number: int
    seconds: float
    composed: Image.Image
    max_pixels: int

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.composed.width * self.composed.height

    @property
    def held_bytes(self) -> int:
        """About how many bytes the frame and what is made of it take."""
        return HELD_BYTES_PER_PIXEL * self.pixels

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB."""
        return self.composed


class Animation:
    """An opened animation, with the interface of `Clip`: iterate it once, on one thread; any thread may call `stop`.

    Args:
        file: what its headers say.
        sampling: which frames are wanted.
        limits: the limits of a video.

    Raises:
        VideoError: its headers declare no frame, or more than the limits allow.
        TooManyPixelsError: its frames are too large.
    """

    kept: Kept | None = None

    def __init__(self, file: AnimationFile, sampling: Sampling, limits: VideoLimits) -> None:
        self.counts = Counts()
        self.ended: Ended = "complete"
        self.detail = ""
        self._file, self._limits = file, limits
        self._stopped = threading.Event()
        check_pixels(file.width, file.height, limits.max_pixels)
        for left, top, right, bottom in (part.box for part in file.parts):  # may exceed the canvas
            check_pixels(right - left, bottom - top, limits.max_pixels)
        refuse_duration(file.seconds, limits)
        if not file.parts:
            raise NoFramesError(
                "The video ends before its first frame: it is empty or cut short. Send the whole file."
            )
        starts = [part.seconds for part in file.parts]
        wants = wants_of(sampling, starts)
        self._wanted = {number for number, at in enumerate(starts) if wants(number, at)}
        refuse_frames(len(self._wanted), limits)
        self.info = VideoInfo(
            container=file.form,
            codec=file.form,
            width=file.width,
            height=file.height,
            rotation=0,
            fps=round(len(starts) / file.seconds, 3) if file.seconds else None,
            seconds=round(file.seconds, 3),
            expected=len(self._wanted),
        )

    @property
    def pixels(self) -> int:
        """How many the canvas has, or the largest stored frame."""
        boxes = (part.box for part in self._file.parts)
        largest = max((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        return max(self._file.width * self._file.height, largest)

    def allow(self, pixels: int) -> None:
        """Nothing is larger than the headers say."""

    def __iter__(self) -> Iterator[ComposedFrame]:
        """Yield the wanted frames.

        Raises:
            BrokenVideoError: no frame can be decoded.
        """
        if not self._file.is_whole:
            self.ended, self.detail = "truncated", "The video is cut short: its end is missing."
        yield from self._frames()
        self.counts.skipped = len(self._file.parts) - self.counts.decoded
        if not self.counts.sampled and not self._stopped.is_set():
            raise BrokenVideoError(
                "None of the video's wanted frames can be decoded: the file is damaged or cut short. Send the whole "
                "file, or encode it again."
            )

    def _frames(self) -> Iterator[ComposedFrame]:
        last = max(self._wanted)
        canvas = Image.new("RGB", (self._file.width, self._file.height), "white")
        for number, part in enumerate(self._file.parts[: last + 1]):
            if self._stopped.is_set():
                return
            before = canvas.crop(part.box) if part.disposal == "restore" and number < last else None
            try:
                _put(canvas, part)
            except READ_FAULTS:
                self._note_damage()
                return
            self.counts.decoded += 1
            if number in self._wanted:
                self.counts.sampled += 1
                shown = canvas if number == last else canvas.copy()
                frame = ComposedFrame(number, part.seconds, shown, self._limits.max_pixels)
                del shown
                yield frame
                del frame
            if number < last:
                _dispose(canvas, part, before)

    def _note_damage(self) -> None:
        self.ended = "truncated"
        if self._file.is_whole:
            self.detail = f"The video is damaged: frame {self.counts.decoded} can not be decoded."

    def stop(self) -> None:
        """Make the iteration end before its next frame."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is open."""


def _put(canvas: Image.Image, part: Part) -> None:
    stored = part.read()
    if stored.mode == "RGB":
        canvas.paste(stored, part.box)
    elif part.blends:
        canvas.paste(stored, part.box, mask=stored)
    else:
        canvas.paste(in_strips(stored, "RGB", over_white), part.box)


def _dispose(canvas: Image.Image, part: Part, before: Image.Image | None) -> None:
    if part.disposal == "clear":
        canvas.paste((255, 255, 255), part.box)
    elif before is not None:
        canvas.paste(before, part.box)
