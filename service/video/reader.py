"""A video's bytes → the wanted frames, each with its time: opened, limited, decoded, and checked at its end."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
from av.video.frame import VideoFrame

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    TooManyFramesError,
    VideoTooLongError,
)
from service.video.allowed import ALL, Allowed
from service.video.completeness import missing_part
from service.video.container import (
    MOST_PIXELS,
    OpenVideo,
    first_packet,
    look_at,
    open_video,
)
from service.video.decoder_bytes import kept_at_most
from service.video.decoding import FrameDecoder
from service.video.extent import MOST_STEPS, has_too_many_boxes, missing_end
from service.video.frame import Frame, Orientation, check_pixels, orientation, square_width
from service.video.kept import Kept
from service.video.packets import PacketReader
from service.video.sampling import Sampling, wants_of
from service.video.source import Source
from service.video.timeline import shown_times

Ended = Literal["complete", "truncated", "limit"]


MOST_ANIMATION_FRAMES = 36_000
"""An hour of ten a second. Each takes up to 70 µs, however small it is."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """The limits of one video: its duration in seconds, sampled frames, pixels per frame, and what is read at all.

    `max_animation_frames` counts the frames that a GIF, PNG or WebP stores: each is composed, whatever is sampled.
    """

    max_seconds: float = 3600.0
    max_frames: int = 3600
    max_animation_frames: int = MOST_ANIMATION_FRAMES
    max_pixels: int = 64_000_000
    allowed: Allowed = ALL


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the file's header declares; None where it does not.

    `width` and `height` are those of the displayed frame, in pixels; `rotation` is the rotation from the stored frame
    to the displayed one, in degrees counter-clockwise. They are right once the first frame is decoded: only that has
    the rotation. `seconds` is the duration.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    fps: float | None
    seconds: float | None
    expected: int | None
    """How many frames will probably be sampled; None where the header does not allow an estimate."""


@dataclass(slots=True)
class Counts:
    """Frames so far: decoded, sampled of these, and skipped without decoding; `skipped` is set at the end."""

    decoded: int = 0
    sampled: int = 0
    skipped: int = 0


ALLOWED_SHARE = 1.25
"""So many times the pixels of the header a frame may have where it is bounded: codecs code whole blocks."""
ALLOWED_EDGE = 160
"""So much wider and higher a frame may be: decoders of MPEG-4 and its like count the edges around it."""
ALLOWED_PIXELS = 1 << 16
"""Each frame may have so many."""
MOST_PIXELS_OF = {"h263": 2048 * 1152}
"""Codec → how many pixels its frames have at most, where each frame alone says its size."""


def _with_blocks(pixels: int) -> int:
    """Return how many pixels a frame may have where a header has so many."""
    return min(MOST_PIXELS, max(ALLOWED_PIXELS, int(pixels * ALLOWED_SHARE)))


class Clip:
    """An opened video. Iterate it once, on one thread; any thread may call `stop`.

    Frames come in the order in which they are shown. Not decoded are groups without a wanted frame, what follows the
    last wanted frame of a group, and unwanted frames that no other frame depends on. Decoding uses one thread, because
    the other threads run batches.

    Args:
        source: the file; its `read` may block until more bytes have arrived.
        sampling: which frames are wanted.
        limits: the limits of a video.

    Raises:
        VideoError: the file can not be read, or its header declares more than the limits allow.
        TooManyPixelsError: its frames are too large.
    """

    def __init__(self, source: Source, sampling: Sampling, limits: VideoLimits) -> None:
        self.counts = Counts()
        self.ended: Ended = "complete"
        self.detail = ""
        """Why it ended before its end, for the client; empty where it did not."""
        self._sampling = sampling
        self._limits = limits
        self._orientations: dict[int, Orientation] = {}
        self._stopped = threading.Event()
        self._most_pixels = _with_blocks(limits.max_pixels)
        self._most: Kept | None = None
        self.kept: Kept | None
        self._source = source
        # Nothing is decoded before its memory is counted: see `allow`.
        self._video = look_at(source, limits.allowed)
        try:
            self.info = _describe(self._video, sampling)
            self._refuse()
            self.kept = _kept(self._video)
        except BaseException:
            self._video.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames.

        Raises:
            TooManyFramesError: more frames are wanted than the limit allows.
            NoFramesError: the video has no frame.
            BrokenVideoError: no frame can be decoded, or a file that is read several times has too many boxes.
        """
        wants = wants_of(self._sampling, self._opened())
        reader = PacketReader(self._video, self._stopped)
        decoder = FrameDecoder(self._video, reader, wants, self._stopped)
        for number, seconds, stored in decoder.frames():
            self.counts.decoded = decoder.decoded
            if seconds > self._limits.max_seconds:
                self._end_at_limit(f"the {self._limits.max_seconds:g} seconds allowed")
                break
            if self.counts.sampled == self._limits.max_frames:
                self._end_at_limit(f"the {self._limits.max_frames} frames allowed")
                break
            turned = self._orientation(stored)
            aspect = self._video.stream.sample_aspect_ratio
            if not self.counts.sampled:
                self.info = _turned(_sized(self.info, stored, aspect), turned)
            self.counts.sampled += 1
            yield Frame(number, seconds, stored, aspect, turned, self._limits.max_pixels)
        self.counts.decoded = decoder.decoded
        if not self._stopped.is_set():
            self._conclude(reader, decoder)

    @property
    def pixels(self) -> int:
        """How many a frame has by the header, as it is stored or as it is displayed; 0: it does not say."""
        width, height = self._video.size
        known = max(width * height, self.info.width * self.info.height)
        return known or MOST_PIXELS_OF.get(self._video.codec, 0)

    def allow(self, pixels: int) -> None:
        """Decode no frame of many more pixels, and keep no more than was counted; before the iteration."""
        self._most = self.kept
        width, height = self._video.size
        with_edges = (width + ALLOWED_EDGE) * (height + ALLOWED_EDGE)
        self._most_pixels = min(self._most_pixels, max(_with_blocks(pixels), with_edges))

    def stop(self) -> None:
        """Make the iteration end before its next packet."""
        self._stopped.set()

    def close(self) -> None:
        self._video.close()

    def _orientation(self, stored: VideoFrame) -> Orientation:
        """Return how a frame is displayed; read once for all frames of the same rotation."""
        found = self._orientations.get(stored.rotation)
        if found is None:
            found = self._orientations[stored.rotation] = orientation(stored)
        return found

    # Before the first frame.

    def _refuse(self) -> None:
        info, limits = self.info, self._limits
        check_pixels(info.width, info.height, limits.max_pixels)
        refuse_duration(info.seconds or 0, limits)
        if _counts_exactly(self._video):
            refuse_frames(info.expected or 0, limits)

    def _opened(self) -> Sequence[float]:
        """Open the file to decode it, and return when all frames are shown where that is needed."""
        self._open()
        self.info = _describe(self._video, self._sampling)
        self._refuse()
        return self._times()

    def _open(self) -> None:
        """Open the file again: it is read from one place."""
        self._video.close()
        self._video = open_video(self._source, self._limits.allowed, self._most_pixels, self._most)

    def _times(self) -> Sequence[float]:
        """Return when all frames are shown if the sampling depends on it or if the header's estimate is over the limit.

        The header's rate may be far from that of the frames, so a video is not refused by it.
        """
        is_over = (self.info.expected or 0) > self._limits.max_frames
        if self._sampling.count is None and not is_over:
            return ()
        if self._video.form == "mov" and has_too_many_boxes(self._source):
            raise BrokenVideoError(
                f"The video has more than {MOST_STEPS} boxes beside each other. Encode it again."
            )
        times = shown_times(
            self._source, self._stopped, self._limits.allowed, self._most_pixels, self._most
        )
        self._open()
        wants = wants_of(self._sampling, times)
        expected = sum(wants(number, seconds) for number, seconds in enumerate(times))
        if not self._stopped.is_set():
            refuse_frames(expected, self._limits)
        self.info = replace(self.info, expected=expected)
        return times

    # The end.

    def _end_at_limit(self, what: str) -> None:
        self.ended = "limit"
        self.detail = f"The video is longer than {what}; the rest was not read."

    def _conclude(self, reader: PacketReader, decoder: FrameDecoder) -> None:
        self.counts.skipped = max(0, reader.shown - decoder.decoded)
        if reader.failure:
            self.ended = "truncated"
            self.detail = f"The video can not be read further: {reader.failure}."
        elif self.ended == "complete":
            lack = missing_part(self._video, reader, self._source, decoder.damaged)
            if lack:
                self.ended = "truncated"
                self.detail = f"The video is cut short or damaged: {lack}."
        if not self.counts.sampled:
            if reader.packets:
                raise BrokenVideoError(
                    f"None of the video's {reader.packets} frames can be decoded: the file is damaged or cut short, or "
                    "they are larger than its header says. Send the whole file, or encode it again."
                )
            if cut := missing_end(self._video.form, self._source):
                raise NoFramesError(
                    f"The file is cut short before its first frame can be read: {cut}. Send the whole file. An MP4 may "
                    "have its header at its end; ffmpeg -movflags +faststart moves it to the start."
                )
            raise NoFramesError("The file's video stream holds no frame.")


def refuse_duration(seconds: float, limits: VideoLimits) -> None:
    """Refuse a video that lasts too long.

    Raises:
        VideoTooLongError: it is over the limit.
    """
    if seconds > limits.max_seconds:
        raise VideoTooLongError(
            f"The video lasts {seconds:g} seconds, and {limits.max_seconds:g} are allowed. Send it in parts."
        )


def refuse_frames(expected: int, limits: VideoLimits) -> None:
    """Refuse a video of which too many frames are wanted.

    Raises:
        TooManyFramesError: it is over the limit.
    """
    if expected > limits.max_frames:
        raise TooManyFramesError(
            f"{expected} frames would be sampled from the video, and {limits.max_frames} are allowed. "
            "Request fewer with fps, every_n or max_frames."
        )


def _kept(video: OpenVideo) -> Kept:
    first = first_packet(video) if video.codec == "vp9" else b""
    extradata = video.stream.codec_context.extradata or b""
    return kept_at_most(video.codec, extradata, first, has_alpha=video.has_alpha_beside)


def _describe(video: OpenVideo, sampling: Sampling) -> VideoInfo:
    stream, (width, height) = video.stream, video.size
    seconds = _header_seconds(video)
    fps = _frame_rate(video)
    return VideoInfo(
        container=video.form,
        codec=video.codec,
        width=square_width(width, stream.sample_aspect_ratio) if width else 0,
        height=height,
        rotation=0,
        fps=round(fps, 3) if fps else None,
        seconds=round(seconds, 3) if seconds is not None else None,
        expected=_expected(video, sampling, seconds, fps),
    )


def _header_seconds(video: OpenVideo) -> float | None:
    stream, container = video.stream, video.container
    is_matroska = video.form == "matroska"
    if stream.duration and not is_matroska:
        return float(stream.duration * video.time_base)
    if not container.duration:
        return None
    # A Matroska header counts from zero, and the first frame may come late.
    start = max(0, int(video.start * av.time_base)) if is_matroska else 0
    return (container.duration - (start if start < container.duration else 0)) / av.time_base


def _frame_rate(video: OpenVideo) -> float | None:
    """Return the frames per second; of a header's label and what the first times say, the lower one."""
    rates = [rate for rate in (video.stream.average_rate, video.stream.guessed_rate) if rate]
    return float(min(rates)) if rates else None


def _counts_exactly(video: OpenVideo) -> bool:
    """Return whether the header has the number of frames, all shown and at a constant rate."""
    stream, seconds = video.stream, _header_seconds(video)
    if not stream.frames or not seconds or stream.average_rate != stream.guessed_rate:
        return False
    return abs(stream.frames - seconds * float(stream.average_rate or 0)) < 1


def _expected(
    video: OpenVideo, sampling: Sampling, seconds: float | None, fps: float | None
) -> int | None:
    if seconds is None or sampling.count is not None:
        return sampling.count
    frames = video.stream.frames or (round(seconds * fps) if fps else None)
    if sampling.every_n:
        return None if frames is None else math.ceil(frames / sampling.every_n)
    assert sampling.fps is not None
    wanted = max(1, math.ceil(seconds * sampling.fps - 1e-6))
    return wanted if frames is None else min(wanted, frames)


def _sized(info: VideoInfo, stored: VideoFrame, aspect: Fraction | None) -> VideoInfo:
    """Add the size of a stored frame where the header does not say it."""
    if info.width and info.height:
        return info
    return replace(info, width=square_width(stored.width, aspect), height=stored.height)


def _turned(info: VideoInfo, turned: Orientation) -> VideoInfo:
    width, height = (info.height, info.width) if turned.transposes else (info.width, info.height)
    return replace(info, width=width, height=height, rotation=turned.rotation)
