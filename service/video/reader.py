"""A clip's bytes → the frames that are wanted, each with its time, decoding as little else as it can."""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Literal, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from PIL import Image

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    TooManyFramesError,
    TooManyPixelsError,
    VideoTooLongError,
)
from service.video.container import (
    Packet,
    Source,
    decoder_of,
    open_container,
    shown_times,
    video_stream,
)
from service.video.sampling import Sampling, These, wants_of

PLANNED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "prores"}
)
"""Those whose key frames start anew, so that what no wanted frame is made from need not be decoded."""

LONGEST_GROUP = 600
"""Packets between key frames that are looked at before any is decoded; a longer group is decoded whole."""

_GIF_TRAILER = b";"
_SHORT_OF_HEADER_SECONDS = 1.0
_SHORT_OF_HEADER_SHARE = 0.05
"""A clip that ends so much before its header's duration is cut short; audio may be a little longer than video."""

Ended = Literal["complete", "truncated", "limit"]


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a clip may ask of us: its duration, how many frames are taken from it, and pixels a frame."""

    max_seconds: float = 3600.0
    max_frames: int = 3600
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the file says of itself, None where it does not.

    `width` and `height` are as displayed and `rotation` the degrees that frames are turned counter-clockwise for that;
    both are known from the first frame on.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    fps: float | None
    seconds: float | None
    expected: int | None
    """How many frames will be sampled, as far as can be told ahead."""


@dataclass(slots=True)
class Counts:
    """Frames so far: decoded, of these given out, and, told at the end, passed over without being decoded."""

    decoded: int = 0
    sampled: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number in the clip from 0, its seconds from the clip's start, its pixels when asked for."""

    number: int
    seconds: float
    stored: VideoFrame
    aspect: Fraction | None
    """Width over height of a stored pixel, None for a square."""
    max_pixels: int

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB: square pixels, turned upright, alpha laid over white.

        Converting takes time: call it where that does not matter. The color matrix and range are the frame's own.

        Raises:
            TooManyPixelsError: a clip may change its size midway.
        """
        stored = self.stored
        width = _square(stored.width, self.aspect)
        check_pixels(width, stored.height, self.max_pixels)
        alpha = any(part.is_alpha for part in stored.format.components)
        layout = "rgba" if alpha or stored.format.name == "pal8" else "rgb24"
        pixels = stored.to_ndarray(format=layout, width=width, height=stored.height)
        upright = np.rot90(pixels, _quarter_turns(stored))
        image = Image.fromarray(np.ascontiguousarray(upright))
        if image.mode == "RGB":
            return image
        paper = Image.new("RGB", image.size, (255, 255, 255))
        paper.paste(image, mask=image.getchannel("A"))
        return paper


class _Group(NamedTuple):
    """Packets in the order they are decoded; `whole`: from a key frame to the next; `ends`: a key frame follows."""

    packets: list[Packet]
    whole: bool
    ends: bool


class Clip:
    """An opened clip. Iterate it once, on one thread; `stop` may be called from any other.

    Frames come in the order they are shown. What follows the last wanted frame of a group, frames that no other is made
    from, and groups without a wanted frame are not decoded. Decoding takes one thread: the others have images to do.

    Args:
        source: the file; its `read` may block while it is still arriving.
        sampling: which frames are wanted.
        limits: what it may ask of us.

    Raises:
        VideoError: it can not be read, or its header promises more than is allowed.
        TooManyPixelsError: its frames are too large.
    """

    def __init__(self, source: Source, sampling: Sampling, limits: VideoLimits) -> None:
        self.counts = Counts()
        self.ended: Ended = "complete"
        self.detail = ""
        """Why it ended before its end, in words for the client."""
        self._limits = limits
        self._stopped = threading.Event()
        self._source = source
        self._container = open_container(source)
        try:
            self._stream = video_stream(self._container)
            self._context = decoder_of(self._stream)
            self._wants = wants_of(sampling, partial(shown_times, self._container, self._stream))
            self.info = self._describe(sampling)
            self._refuse()
        except BaseException:
            self._container.close()
            raise
        self._number = 0
        self._packets = 0
        self._damaged = 0
        self._last_end = 0.0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames.

        Raises:
            NoFramesError, BrokenVideoError: there was none.
        """
        for frame in self._sampled():
            if frame.seconds > self._limits.max_seconds:
                self._end_at_limit(f"the {self._limits.max_seconds:g} seconds allowed")
                break
            if self.counts.sampled == self._limits.max_frames:
                self._end_at_limit(f"the {self._limits.max_frames} frames allowed")
                break
            if not self.counts.sampled:
                self.info = _turned(self.info, _quarter_turns(frame.stored))
            self.counts.sampled += 1
            yield frame
        if self._stopped.is_set():
            return
        self.counts.skipped = max(0, self._packets - self.counts.decoded)
        if self.ended == "complete":
            self._notice_truncation()
        if not self.counts.sampled:
            if self._packets:
                raise BrokenVideoError(
                    f"None of the clip's {self._packets} frames can be decoded. Encode it again."
                )
            raise NoFramesError("The clip's video stream holds no frame.")

    def stop(self) -> None:
        """Let the iteration end soon, wherever it is."""
        self._stopped.set()

    def close(self) -> None:
        self._container.close()

    # Before the first frame.

    def _describe(self, sampling: Sampling) -> VideoInfo:
        stream, context = self._stream, self._context
        seconds = self._header_seconds()
        fps = float(stream.average_rate) if stream.average_rate else None
        return VideoInfo(
            container=self._container.format.name.split(",")[0],
            codec=context.name,
            width=_square(context.width, stream.sample_aspect_ratio),
            height=context.height,
            rotation=0,
            fps=round(fps, 3) if fps else None,
            seconds=round(seconds, 3) if seconds is not None else None,
            expected=self._expected(sampling, seconds, fps),
        )

    def _header_seconds(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return self._container.duration / av.time_base if self._container.duration else None

    def _expected(self, sampling: Sampling, seconds: float | None, fps: float | None) -> int | None:
        if isinstance(self._wants, These):
            return len(self._wants.numbers)
        if seconds is None:
            return None
        frames = self._stream.frames or (round(seconds * fps) if fps else None)
        if sampling.every_n:
            return None if frames is None else math.ceil(frames / sampling.every_n)
        assert sampling.fps is not None
        wanted = max(1, math.ceil(seconds * sampling.fps - 1e-6))
        return wanted if frames is None else min(wanted, frames)

    def _refuse(self) -> None:
        info, limits = self.info, self._limits
        check_pixels(info.width, info.height, limits.max_pixels)
        if info.seconds is not None and info.seconds > limits.max_seconds:
            raise VideoTooLongError(
                f"The clip lasts {info.seconds:g} seconds, {limits.max_seconds:g} are allowed. "
                "Send it in parts."
            )
        if info.expected is not None and info.expected > limits.max_frames:
            raise TooManyFramesError(
                f"{info.expected} frames would be taken from the clip, {limits.max_frames} are allowed. "
                "Ask for fewer by fps, every_n or max_frames."
            )

    # Decoding.

    def _sampled(self) -> Iterator[Frame]:
        try:
            for group in self._groups():
                plannable = group.whole and self._context.name in PLANNED_CODECS
                if plannable and _times_tell_apart(group.packets):
                    yield from self._decode_wanted(group.packets)
                else:
                    yield from self._decode_all(group.packets, drain=group.ends)
        except FFmpegError as error:
            if self._stopped.is_set():
                return
            self.ended = "truncated"
            self.detail = f"The clip can be read no further: {error.strerror}."

    def _groups(self) -> Iterator[_Group]:
        """Part the packets before each key frame behind which no frame looks back beyond it."""
        group: list[Packet] = []
        key: Packet | None = None
        starts = False
        for packet in self._read():
            if key is not None:
                if _leads(packet, key):
                    group.append(key)
                else:
                    if group:
                        yield _Group(group, whole=starts, ends=True)
                    group, starts = [key], True
                key = None
            if packet.is_keyframe:
                key = packet
                continue
            group.append(packet)
            if len(group) >= LONGEST_GROUP:
                yield _Group(group, whole=False, ends=False)
                group, starts = [], False
        if key is not None:
            if group:
                yield _Group(group, whole=starts, ends=True)
            group, starts = [key], True
        if group or not starts:
            yield _Group(group, whole=starts, ends=True)

    def _read(self) -> Iterator[Packet]:
        for packet in self._container.demux(self._stream):
            if self._stopped.is_set():
                return
            if packet.size == 0:
                continue
            if packet.is_corrupt:
                self._damaged += 1
                continue
            self._packets += 1
            yield packet

    def _decode_wanted(self, packets: Sequence[Packet]) -> Iterator[Frame]:
        """Decode what the wanted frames are made from, by the times that the packets bear."""
        wanted: dict[int, int] = {}
        for pts in sorted(packet.pts for packet in packets if packet.pts is not None):
            self._note_end(self._seconds(pts))
            if self._wants(self._number, self._seconds(pts)):
                wanted[pts] = self._number
            self._number += 1
        last = max((i for i, packet in enumerate(packets) if packet.pts in wanted), default=-1)
        if last < 0:
            return
        for packet in packets[: last + 1]:
            self._context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from self._among(wanted, self._decode(packet))
        yield from self._among(wanted, self._drain())

    def _among(self, wanted: Mapping[int, int], frames: Sequence[VideoFrame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.pts is not None and frame.pts in wanted:
                yield self._frame(frame, wanted[frame.pts], self._seconds(frame.pts))

    def _decode_all(self, packets: Sequence[Packet], *, drain: bool) -> Iterator[Frame]:
        self._context.skip_frame = "DEFAULT"
        for packet in packets:
            yield from self._chosen(self._decode(packet))
        if drain:
            yield from self._chosen(self._drain())

    def _chosen(self, frames: Sequence[VideoFrame]) -> Iterator[Frame]:
        for frame in frames:
            seconds = self._seconds_of(frame)
            self._note_end(seconds)
            number, self._number = self._number, self._number + 1
            if self._wants(number, seconds):
                yield self._frame(frame, number, seconds)

    def _frame(self, stored: VideoFrame, number: int, seconds: float) -> Frame:
        aspect = self._stream.sample_aspect_ratio
        return Frame(number, max(0.0, seconds), stored, aspect, self._limits.max_pixels)

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        """Decode one packet; one that is damaged is left out, what follows may be whole again."""
        if self._stopped.is_set():
            return []
        try:
            return self._counted(self._context.decode(packet))
        except FFmpegError:
            self._damaged += 1
            return []

    def _drain(self) -> list[VideoFrame]:
        """Return what the decoder holds back, and let it begin anew."""
        try:
            return self._counted(self._context.decode(None))
        except FFmpegError:
            return []
        finally:
            self._context.flush_buffers()

    def _counted(self, frames: Sequence[VideoFrame]) -> list[VideoFrame]:
        self.counts.decoded += len(frames)
        return list(frames)

    def _seconds(self, pts: int) -> float:
        start = self._stream.start_time or 0
        base = self._stream.time_base or Fraction(1, 1000)
        return float((pts - start) * base)

    def _seconds_of(self, frame: VideoFrame) -> float:
        if frame.pts is not None:
            return self._seconds(frame.pts)
        if frame.dts is not None:
            return self._seconds(frame.dts)
        return self._number / float(self._stream.average_rate or 25)

    # The end.

    def _note_end(self, seconds: float) -> None:
        self._last_end = max(self._last_end, seconds)

    def _end_at_limit(self, what: str) -> None:
        self.ended = "limit"
        self.detail = f"The clip goes on beyond {what}; the rest was not looked at."

    def _notice_truncation(self) -> None:
        """Files do not say that they are cut: their headers promise more than came, or their last packet is a stump."""
        reason = ""
        promised = self._promised_packets()
        expected = self._container.duration / av.time_base if self._container.duration else 0.0
        missing = expected - self._last_end
        if promised > self._packets:
            reason = f"its header promises {promised} frames and {self._packets} are there"
        elif self._damaged:
            reason = f"{self._damaged} of its frames are damaged"
        elif missing > max(_SHORT_OF_HEADER_SECONDS, _SHORT_OF_HEADER_SHARE * expected) and (
            missing > 2 / float(self._stream.average_rate or 1)
        ):
            reason = (
                f"its header promises {expected:.2f} seconds and it ends at {self._last_end:.2f}"
            )
        elif self._container.format.name == "gif" and not self._has_trailer():
            reason = "its end is missing"
        if reason:
            self.ended = "truncated"
            self.detail = f"The clip is cut short or damaged: {reason}."

    def _promised_packets(self) -> int:
        if "mp4" in self._container.format.name:
            return len(
                self._stream.index_entries
            )  # the table after edit lists, which leave frames out
        return self._stream.frames if self._container.format.name == "avi" else 0

    def _has_trailer(self) -> bool:
        self._source.seek(-1, 2)
        return self._source.read(1) == _GIF_TRAILER


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse frames that are too large.

    Raises:
        TooManyPixelsError: width times height is over the limit.
    """
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"Frames of {width}×{height} pixels are more than the {max_pixels / 1e6:g} million allowed. "
            "Send the clip in a smaller size."
        )


def _quarter_turns(stored: VideoFrame) -> int:
    """Return how many quarters a frame is turned counter-clockwise to be upright, 0 to 3."""
    return round(stored.rotation / 90) % 4


def _turned(info: VideoInfo, turns: int) -> VideoInfo:
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    return replace(info, width=width, height=height, rotation=turns * 90)


def _square(width: int, aspect: Fraction | None) -> int:
    """Return the width in square pixels."""
    return max(1, round(width * aspect)) if aspect else width


def _leads(packet: Packet, key: Packet) -> bool:
    """Tell whether a packet behind a key frame is shown before it, so that it may look back beyond it."""
    return packet.pts is not None and key.pts is not None and packet.pts < key.pts


def _times_tell_apart(packets: Sequence[Packet]) -> bool:
    times = [packet.pts for packet in packets]
    return None not in times and len(set(times)) == len(times)
