"""A video's bytes → an opened file, its video stream and its decoder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet as AnyPacket
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    NoVideoStreamError,
    UnsupportedVideoError,
    VideoError,
)
from service.imaging.shortage import require_memory
from service.video import signature
from service.video.allowed import ALL, Allowed
from service.video.avi import has_gaps, periods_of_packets, reorder_delay, shown_periods
from service.video.bitstream import describer, describes_every_packet
from service.video.boxes import BoxCount
from service.video.checked import CheckedSource
from service.video.chunks import ChunkCount
from service.video.elements import ElementCount
from service.video.extent import missing_end
from service.video.guard import Guard
from service.video.kept import Kept, kept_of
from service.video.mpeg4 import frame_size
from service.video.source import Source

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""WebM keeps the alpha of a frame beside the frame; of FFmpeg's decoders only these read it."""

REORDERING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})
"""Codecs of which only decoding says whether frames are reordered."""
FIRST_PACKETS, FIRST_FRAMES = 40, 20
"""So much of H.264 is decoded for the order of its frames, where its header does not say it."""
MOST_PIXELS = 1 << 28
"""A frame has at most so many, whatever is allowed."""

Packet: TypeAlias = "AnyPacket[VideoStream]"


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """An opened file, read once from its start; open the source again to read it again."""

    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext
    """Decodes on the thread that calls it."""
    shown_periods: Mapping[int, int] = field(default_factory=dict)
    """Of an AVI: when the n-th frame is shown, by the time of the n-th packet, where that is another time."""
    first_stamp: int | None = None
    """When its first frame is shown, where FFmpeg does not say it."""
    guard: Guard | None = None
    """Judges packets before they are decoded, and frames after it."""

    @property
    def codec(self) -> str:
        """The codec's name, whichever decoder reads it."""
        return self.stream.codec_context.codec.canonical_name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a stored frame by the header; zeros where it does not say them."""
        context = self.stream.codec_context
        if not context.width and self.codec == "mpeg4":
            # FFmpeg leaves those of an MP4 to the decoder.
            return frame_size(context.extradata or b"")
        return context.width, context.height

    @property
    def has_alpha_beside(self) -> bool:
        """Whether alpha comes beside the frames' packets."""
        return self.decoder.name in ALPHA_DECODERS.values()

    @property
    def form(self) -> str:
        """The short name of the container."""
        return _form(self.container)

    @property
    def has_stored_times(self) -> bool:
        """Whether packets say when they are shown. Those of an AVI do not: it shows a frame in each period."""
        return self.form != "avi"

    @property
    def time_base(self) -> Fraction:
        """The seconds of a unit of time of the stream."""
        return self.stream.time_base or Fraction(1, 1000)

    def seconds(self, stamp: int) -> float:
        """Return the seconds from the file's start, where its first stream of any kind starts."""
        return float(stamp * self.time_base - self.start)

    @property
    def start(self) -> Fraction:
        """When the first stream of any kind starts, in seconds."""
        known = self.stream.start_time if self.first_stamp is None else self.first_stamp
        own = Fraction(known or 0) * self.time_base
        if self.container.start_time is None:
            return own
        start = Fraction(self.container.start_time, av.time_base)
        if self.first_stamp is not None:
            start = min(own, start)
        # FFmpeg rounds the file's start to a microsecond.
        return own if abs(own - start) < Fraction(2, av.time_base) else start

    def decode(self, packet: Packet) -> list[VideoFrame]:
        """Decode a packet.

        Raises:
            TooManyPixelsError: it takes more memory than was counted.
            FFmpegError: it is damaged, or there is no memory for its frame.
        """
        if self.guard is not None:
            self.guard.before(packet)
        frames = self.decoder.decode(packet)
        if self.guard is not None:
            self.guard.after(self.decoder)
        return frames

    def close(self) -> None:
        self.container.close()


def _form(container: InputContainer) -> str:
    return container.format.name.split(",")[0]


def look_at(source: Source, allowed: Allowed = ALL) -> OpenVideo:
    """Open a file from its first byte for what its header says: no decoder sees a byte of it.

    Raises:
        VideoError: it is no video that can be read.
    """
    return _open(source, allowed)


def open_video(
    source: Source,
    allowed: Allowed = ALL,
    most_pixels: int = MOST_PIXELS,
    most: Kept | None = None,
) -> OpenVideo:
    """Open a file from its first byte, to decode it. Some are decoded a little before this returns.

    Args:
        source: the file.
        allowed: what is read.
        most_pixels: no larger frame is decoded.
        most: what the decoder may keep; None: it is not counted.

    Raises:
        VideoError: it is no video that can be read.
        TooManyPixelsError: it takes more memory than was counted.
    """
    video = _to_decode(_open(source, allowed), most_pixels, most)
    if video.codec == "h264":
        video = _with_order(video, source, allowed)
    if video.form != "avi" or not _may_reorder(video):
        return video
    periods = periods_of_packets(video.stream)
    if not has_gaps(periods):
        return video
    try:
        packets = (packet for packet in video.container.demux(video.stream) if packet.size)
        describe = describer(video.codec, video.stream.codec_context.extradata)
        speaks = describes_every_packet(video.codec)
        delay = reorder_delay(packets, video, describe if speaks else None)
    except FFmpegError:
        require_memory()
        delay = 0
    finally:
        video.close()
    if video.codec == "h264":
        video = _again(video, source, allowed)
    else:
        video = _to_decode(_open(source, allowed), most_pixels, most)
    return replace(video, shown_periods=shown_periods(periods, delay))


def _to_decode(video: OpenVideo, most_pixels: int, most: Kept | None) -> OpenVideo:
    video.decoder.options = {"max_pixels": str(most_pixels)}
    if most is None:
        return video
    extradata = video.stream.codec_context.extradata or b""
    return replace(video, guard=Guard(video.codec, extradata, most))


def _may_reorder(video: OpenVideo) -> bool:
    return video.stream.codec_context.has_b_frames or video.codec in REORDERING_CODECS


def _again(video: OpenVideo, source: Source, allowed: Allowed) -> OpenVideo:
    """Open the file from its first byte again, for a decoder that knows the order of its frames."""
    video.close()
    if video.decoder.is_open:
        video.decoder.flush_buffers()
    fresh = _open(source, allowed)
    return replace(video, container=fresh.container, stream=fresh.stream)


def _with_order(video: OpenVideo, source: Source, allowed: Allowed) -> OpenVideo:
    """Let a decoder of H.264 find how many frames are reordered, and read when the first one is shown.

    FFmpeg would do it when it opens a file, with all tracks, before anything is counted.
    """
    kept = kept_of("h264", video.stream.codec_context.extradata or b"")
    decodes = kept is None or not kept.says_order
    has_late_start = video.form == "matroska"
    if not (decodes or has_late_start):
        return video
    first: int | None = None
    frames = 0
    try:
        packets = (packet for packet in video.container.demux(video.stream) if packet.size)
        for number, packet in enumerate(packets, 1):
            if first is None and has_late_start:
                first = packet.pts
            if not decodes or number > FIRST_PACKETS or frames >= FIRST_FRAMES:
                break
            frames += _decoded(video, packet)
    except FFmpegError:
        require_memory()
    except BaseException:
        video.close()
        raise
    return _again(replace(video, first_stamp=first), source, allowed)


def _decoded(video: OpenVideo, packet: Packet) -> int:
    """Return how many frames a packet gives; a damaged one gives none."""
    try:
        return len(video.decode(packet))
    except FFmpegError:
        require_memory()
        return 0


def first_packet(video: OpenVideo) -> bytes:
    """Return the first packet of the video, empty where there is none; the file is opened again to be read."""
    try:
        packets = video.container.demux(video.stream)
        return next((bytes(packet) for packet in packets if packet.size), b"")
    except FFmpegError:
        require_memory()
        return b""


def _open(source: Source, allowed: Allowed) -> OpenVideo:
    container = open_container(source, allowed)
    try:
        stream = video_stream(container)
        return OpenVideo(container, stream, decoder_of(stream, allowed))
    except UnsupportedVideoError as error:
        container.close()
        # A header that is cut within its list of codecs names none.
        form = _form(container)
        if missing_end(form, source):
            raise _broken_header(is_mp4=form == "mov") from error
        raise
    except BaseException:
        container.close()
        raise


@contextmanager
def opened_video(
    source: Source,
    allowed: Allowed = ALL,
    most_pixels: int = MOST_PIXELS,
    most: Kept | None = None,
) -> Iterator[OpenVideo]:
    """Open a file for the length of the block, as `open_video` does.

    Raises:
        VideoError: it is no video that can be read.
        TooManyPixelsError: it takes more memory than was counted.
    """
    video = open_video(source, allowed, most_pixels, most)
    try:
        yield video
    finally:
        video.close()


def open_container(source: Source, allowed: Allowed = ALL) -> InputContainer:
    """Return the opened file, read from its first byte, with its header read.

    FFmpeg would decode the first frames of all tracks to know more of them, before anything of it is counted: it may
    use no decoder.

    Raises:
        UnsupportedVideoError: the bytes are no video of a known format.
        BrokenVideoError: the format is known, and the header can not be read.
        NoFramesError: the file ends before its first frame.
    """
    source.seek(0)
    head = source.read(signature.READ_BYTES)
    if image := signature.image_kind(head):
        raise UnsupportedVideoError(
            f"The bytes are {image}, not a video. Send {allowed} here, and an image to a route for images, for "
            "example /v1/classify."
        )
    source.seek(0)
    options = {
        "format_whitelist": allowed.readers,
        "protocol_whitelist": "",
        "codec_whitelist": "none",
    }
    try:
        container = av.open(_checked(source, head), options=options, metadata_errors="replace")
    except (FFmpegError, ValueError, EOFError) as error:
        require_memory()
        raise _not_opened(head, error, allowed) from error
    assert isinstance(container, InputContainer)
    return container


def _checked(source: Source, head: bytes) -> Source:
    """Return a source that refuses what FFmpeg would pay too much for."""
    if head.startswith(signature.RIFF_START):
        return CheckedSource(source, ChunkCount(source))
    if head.startswith(signature.EBML_START):
        return CheckedSource(source, ElementCount(source))
    return CheckedSource(source, BoxCount(source))  # FFmpeg may take any other file for an MP4


def _not_opened(head: bytes, error: Exception, allowed: Allowed) -> VideoError:
    is_known = signature.is_video(head)
    if is_known and isinstance(error, EOFError):
        return NoFramesError(
            "The video ends before its first frame: it is empty or cut short. Send the whole file."
        )
    if is_known:
        return _broken_header(is_mp4=signature.is_mp4(head))
    what = signature.other_kind(head)
    if what is None and len(head) < signature.TOO_SHORT_BYTES:
        return UnsupportedVideoError(
            f"The file is too short for the header of any video ({len(head)} of at least "
            f"{signature.TOO_SHORT_BYTES} bytes). Send {allowed}."
        )
    found = "no video that is understood" if what is None else f"{what}, which is not read"
    return UnsupportedVideoError(f"The bytes are {found}. Send {allowed}.")


def _broken_header(*, is_mp4: bool) -> BrokenVideoError:
    return BrokenVideoError(
        "The video's header can not be read: the file is damaged or cut short. "
        + (
            "An MP4 may have its header at its end; ffmpeg -movflags +faststart moves it to the start."
            if is_mp4
            else "Send the whole file."
        )
    )


def video_stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that is no cover image; the sequence of an AVIF before its still image.

    Raises:
        NoVideoStreamError: there is none.
        BrokenVideoError: the header does not name any stream that is known.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if streams:
        return next((stream for stream in streams if not _is_still(stream)), streams[0])
    kinds = sorted({_kind(stream) for stream in container.streams})
    if not set(kinds) - {"data"}:
        raise BrokenVideoError(
            "The video's header names no video and no sound: the file is damaged or cut short. Send the whole file."
        )
    raise NoVideoStreamError(
        f"The file holds {' and '.join(kinds)}, and no video. Send a file with a video stream."
    )


def _kind(stream: Stream) -> str:
    if isinstance(stream, VideoStream):
        return "a cover image"
    return stream.type or "data"


def is_cover(stream: Stream) -> bool:
    """Return whether a stream is an attached cover image: FFmpeg lists it as a video stream of one frame."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _is_still(stream: VideoStream) -> bool:
    """Return whether a stream is one image of a file that holds images, which FFmpeg lists beside its sequences."""
    return stream.frames == 1 and stream.duration is None


def decoder_of(stream: VideoStream, allowed: Allowed = ALL) -> VideoCodecContext:
    """Return the stream's decoder; it decodes on the thread that calls it.

    Raises:
        UnsupportedVideoError: this FFmpeg has none, or it is not allowed.
    """
    try:
        context = stream.codec_context
    except FFmpegError:
        require_memory()
        context = None
    if context is None or (not context.is_open and context.codec is None):
        raise UnsupportedVideoError(
            "This FFmpeg has no decoder for the video's codec. Encode it as H.264, HEVC, VP9 or AV1."
        )
    allowed.require_codec(context.codec.canonical_name)
    context = _with_alpha(stream, context)
    context.thread_count = 1
    return context


def _with_alpha(stream: VideoStream, context: VideoCodecContext) -> VideoCodecContext:
    """Return a decoder that reads alpha beside the frames if the file has it, else the same one."""
    name = ALPHA_DECODERS.get(context.codec.canonical_name, "")
    if stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return context
    return cast("VideoCodecContext", av.CodecContext.create(name, "r"))
