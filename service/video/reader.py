"""A video's bytes → the wanted frames, each with its time; as few other frames as possible are decoded."""

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
"""Codecs in which no frame depends on one before a key frame: packets that no wanted frame needs can be skipped."""

LONGEST_GROUP = 600
"""The most packets from one key frame to the next that are collected; a longer group is decoded without a plan."""

_GIF_TRAILER = b";"
_SHORT_OF_HEADER_SECONDS = 1.0
_SHORT_OF_HEADER_SHARE = 0.05
"""A video that ends before its header's duration by more than both is cut short; audio may be a little longer."""

Ended = Literal["complete", "truncated", "limit"]


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """The limits of one video: its duration in seconds, sampled frames, and pixels per frame."""

    max_seconds: float = 3600.0
    max_frames: int = 3600
    max_pixels: int = 64_000_000


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


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number in the video, from 0, its time from the video's start in seconds, and its stored pixels."""

    number: int
    seconds: float
    stored: VideoFrame
    aspect: Fraction | None
    """Width divided by height of a stored pixel, None for a square."""
    max_pixels: int

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB: square pixels, upright, alpha composited over white.

        The conversion takes milliseconds; call it on a worker thread. It uses the frame's own color matrix and range.

        Raises:
            TooManyPixelsError: the frame is too large; a video may change its size midway.
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
    """Packets in decoding order; `whole`: from one key frame to the next; `ends`: a key frame, or the end, follows."""

    packets: list[Packet]
    whole: bool
    ends: bool


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
            NoFramesError: the video has no frame.
            BrokenVideoError: no frame can be decoded.
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
            self._detect_truncation()
        if not self.counts.sampled:
            if self._packets:
                raise BrokenVideoError(
                    f"None of the video's {self._packets} frames can be decoded. Encode it again."
                )
            raise NoFramesError("The file's video stream holds no frame.")

    def stop(self) -> None:
        """Make the iteration end before its next packet."""
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
                f"The video lasts {info.seconds:g} seconds, and {limits.max_seconds:g} are allowed. "
                "Send it in parts."
            )
        if info.expected is not None and info.expected > limits.max_frames:
            raise TooManyFramesError(
                f"{info.expected} frames would be sampled from the video, and {limits.max_frames} are allowed. "
                "Request fewer with fps, every_n or max_frames."
            )

    # Decoding.

    def _sampled(self) -> Iterator[Frame]:
        try:
            for group in self._groups():
                plannable = group.whole and self._context.name in PLANNED_CODECS
                if plannable and _have_distinct_times(group.packets):
                    yield from self._decode_wanted(group.packets)
                else:
                    yield from self._decode_all(group.packets, drain=group.ends)
        except FFmpegError as error:
            if self._stopped.is_set():
                return
            self.ended = "truncated"
            self.detail = f"The video can not be read further: {error.strerror}."

    def _groups(self) -> Iterator[_Group]:
        """Yield the packets in groups that can be decoded alone.

        A group ends before a key frame, unless the packet after it is shown earlier than the key frame: that one may
        depend on frames before the key frame.
        """
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
        """Decode the packets that the wanted frames depend on; the packets' own times decide which are wanted."""
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
            yield from self._planned(wanted, self._decode(packet))
        yield from self._planned(wanted, self._drain())

    def _planned(self, wanted: Mapping[int, int], frames: Sequence[VideoFrame]) -> Iterator[Frame]:
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
        """Decode one packet. A damaged one gives no frame: the packets after it may be intact."""
        if self._stopped.is_set():
            return []
        try:
            return self._counted(self._context.decode(packet))
        except FFmpegError:
            self._damaged += 1
            return []

    def _drain(self) -> list[VideoFrame]:
        """Return the frames that the decoder still holds, and reset it."""
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
        self.detail = f"The video is longer than {what}; the rest was not read."

    def _detect_truncation(self) -> None:
        """Detect a file that is cut short: its header declares more than came, or packets are damaged."""
        reason = ""
        declared = self._declared_packets()
        expected = self._container.duration / av.time_base if self._container.duration else 0.0
        missing = expected - self._last_end
        if declared > self._packets:
            reason = f"its header declares {declared} frames and {self._packets} are there"
        elif self._damaged:
            reason = f"{self._damaged} of its frames are damaged"
        elif missing > max(_SHORT_OF_HEADER_SECONDS, _SHORT_OF_HEADER_SHARE * expected) and (
            missing > 2 / float(self._stream.average_rate or 1)
        ):
            reason = (
                f"its header declares {expected:.2f} seconds and it ends at {self._last_end:.2f}"
            )
        elif self._container.format.name == "gif" and not self._has_trailer():
            reason = "its end is missing"
        if reason:
            self.ended = "truncated"
            self.detail = f"The video is cut short or damaged: {reason}."

    def _declared_packets(self) -> int:
        if "mp4" in self._container.format.name:
            # The sample table after edit lists, which leave frames out.
            return len(self._stream.index_entries)
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
            "Send the video in a smaller size."
        )


def _quarter_turns(stored: VideoFrame) -> int:
    """Return by how many quarter turns, counter-clockwise, a stored frame becomes upright, 0 to 3."""
    return round(stored.rotation / 90) % 4


def _turned(info: VideoInfo, turns: int) -> VideoInfo:
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    return replace(info, width=width, height=height, rotation=turns * 90)


def _square(width: int, aspect: Fraction | None) -> int:
    """Return the width in square pixels."""
    return max(1, round(width * aspect)) if aspect else width


def _leads(packet: Packet, key: Packet) -> bool:
    """Return whether a packet that follows a key frame is shown before it: it may depend on frames before both."""
    return packet.pts is not None and key.pts is not None and packet.pts < key.pts


def _have_distinct_times(packets: Sequence[Packet]) -> bool:
    times = [packet.pts for packet in packets]
    return None not in times and len(set(times)) == len(times)
