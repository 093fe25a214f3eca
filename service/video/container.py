"""A video's bytes → an opened file, its video stream and its decoder; no frame is decoded here."""

from fractions import Fraction
from typing import Protocol, TypeAlias

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet as AnyPacket
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    NoVideoStreamError,
    UnsupportedVideoError,
)

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""The FFmpeg readers that are allowed. Readers of playlists and scripts are not: these can open files and URLs."""

Packet: TypeAlias = "AnyPacket[VideoStream]"


class Source(Protocol):
    """A seekable binary file, or an object that reads like one."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


def open_container(source: Source) -> InputContainer:
    """Return the opened file, with its header read.

    Raises:
        UnsupportedVideoError: the bytes are no video of a known format.
        BrokenVideoError: the format is known, and the header can not be read.
        NoFramesError: the file ends before its first frame.
    """
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
    try:
        container = av.open(source, options=options, metadata_errors="replace")
    except (FFmpegError, ValueError, EOFError) as error:
        source.seek(0)
        head = source.read(16)
        if _has_video_signature(head) and isinstance(error, EOFError):
            raise NoFramesError("The video ends before its first frame.") from error
        if _has_video_signature(head):
            raise BrokenVideoError(
                f"The video's header can not be read: {_reason(error)}. The file is damaged or cut short. An MP4 may "
                "have its header at its end; ffmpeg -movflags +faststart moves it to the start."
            ) from error
        raise UnsupportedVideoError(
            "The bytes are no video that is understood. Send MP4, MOV, WebM, Matroska, AVI or GIF."
        ) from error
    assert isinstance(container, InputContainer)
    return container


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, FFmpegError) else None) or str(error)


def _has_video_signature(head: bytes) -> bool:
    return (
        head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"}
        or head.startswith((b"\x1aE\xdf\xa3", b"GIF8"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
    )


def video_stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that is no cover image.

    Raises:
        NoVideoStreamError: there is none.
    """
    images = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not images:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise NoVideoStreamError(f"The file holds {kinds} and no video stream.")
    return images[0]


def _is_cover(stream: VideoStream) -> bool:
    """Return whether a stream is an attached cover image: FFmpeg lists it as a video stream of one frame."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the stream's decoder; it decodes on the thread that calls it.

    Raises:
        UnsupportedVideoError: this FFmpeg has none.
    """
    try:
        context = stream.codec_context
    except FFmpegError:
        context = None
    if context is None or (not context.is_open and context.codec is None):
        raise UnsupportedVideoError(
            "This FFmpeg has no decoder for the video's codec. Encode it as H.264, HEVC, VP9 or AV1."
        )
    context.thread_count = 1
    return context


def shown_times(container: InputContainer, stream: VideoStream) -> list[float]:
    """Read all packets, decode none, and return the times at which frames are shown, in seconds and in order.

    The next read starts at the first packet again.
    """
    base = stream.time_base or Fraction(1, 1000)
    stamps = []
    try:
        for packet in container.demux(stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size and stamp is not None and not packet.is_corrupt:
                stamps.append(stamp)
    except FFmpegError:
        pass  # the packets so far are sampled; decoding will report that the file is cut short
    container.seek(min(stamps, default=0), stream=stream)
    return [float(stamp * base) for stamp in sorted(stamps)]
