"""What an operator lets be read of videos: formats and codecs; all unless some are named."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import av

from service.errors import ConfigurationError, UnsupportedVideoError
from service.video import signature
from service.video.decoder_bytes import USUAL_CODECS

VideoFormat = Literal["mp4", "webm", "avi", "gif", "png", "webp"]

NAMES: dict[VideoFormat, str] = {
    "mp4": "MP4, MOV",
    "webm": "WebM, Matroska",
    "avi": "AVI",
    "gif": "GIF",
    "png": "animated PNG",
    "webp": "animated WebP",
}
_READERS: dict[VideoFormat, str] = {
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "webm": "matroska,webm",
    "avi": "avi",
}
"""FFmpeg's readers. Those of playlists and scripts are never used: these can open files and URLs.

Animated images are composed without FFmpeg."""

_DECODERS = {
    "av1": ("libdav1d", "av1", "libaom-av1"),
    "vp8": ("vp8", "libvpx"),
    "vp9": ("vp9", "libvpx-vp9"),
}
"""Codec → FFmpeg's decoders for it, where one has another name."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The formats and codecs that are read. No reader or decoder of another one sees a byte.

    Args:
        formats: of files.
        codecs: by FFmpeg's names; none: the usual ones.
    """

    formats: tuple[VideoFormat, ...] = tuple(NAMES)
    codecs: tuple[str, ...] = ()

    @property
    def readers(self) -> str:
        """FFmpeg's list of the readers that it may try."""
        found = [_READERS[one] for one in self.formats if one in _READERS]
        return ",".join(found) or "none"

    def __str__(self) -> str:
        """Return what may be sent, for messages."""
        *others, last = ", ".join(NAMES[one] for one in self.formats).split(", ")
        return f"{', '.join(others)} or {last}" if others else last

    def require_format(self, head: bytes) -> None:
        """Refuse a video of a format that is not allowed.

        Args:
            head: the first bytes of a file.

        Raises:
            UnsupportedVideoError: the message names what is allowed.
        """
        found = _format_of(head)
        if found is not None and found not in self.formats:
            raise UnsupportedVideoError(
                f"The file is {NAMES[found].replace(', ', ' or ')}, which this service does not read. Send {self}."
            )

    def require_codec(self, codec: str) -> None:
        """Refuse a video with a codec that is not allowed.

        Raises:
            UnsupportedVideoError: the message names what is allowed.
        """
        if codec not in (self.codecs or USUAL_CODECS):
            raise UnsupportedVideoError(
                f"The video's codec is {codec}, which this service does not decode. Encode it as "
                f"{' or '.join(self.codecs) or 'H.264, HEVC, VP9 or AV1'}."
            )


ALL = Allowed()


def allowed_of(formats: Iterable[VideoFormat], codecs: Iterable[str]) -> Allowed:
    """Return what settings allow; an empty one allows all.

    Raises:
        ConfigurationError: FFmpeg does not know a codec.
    """
    chosen, named = set(formats), tuple(dict.fromkeys(one.lower() for one in codecs))
    for codec in named:
        if not any(name in av.codecs_available for name in _DECODERS.get(codec, (codec,))):
            raise ConfigurationError(
                f"FOVEAL_VIDEO_CODECS names {codec!r}, for which this FFmpeg has no decoder. Use FFmpeg's names, such "
                "as h264, hevc, vp9, av1."
            )
    return Allowed(tuple(one for one in NAMES if not chosen or one in chosen), named)


def _format_of(head: bytes) -> VideoFormat | None:
    """Return the format of a file with these first bytes, None for one that no reader takes for a video."""
    if signature.is_gif(head):
        return "gif"
    if signature.is_png(head):
        return "png"
    if signature.is_animated_webp(head):
        return "webp"
    if signature.is_mp4(head):
        return "mp4"
    if not signature.is_video(head):
        return None
    return "avi" if head.startswith(b"RIFF") else "webm"
