"""Whether a file that was read to its end is whole: its header declares more than came, or its frames are damaged."""

import av

from service.video.container import OpenVideo, Source
from service.video.packets import PacketReader

_SHORT_OF_HEADER_SECONDS = 1.0
_SHORT_OF_HEADER_SHARE = 0.05
"""A file that ends before its header's duration by more than both is cut short; headers are a little inexact."""

_GIF_TRAILER = b";"
_READ_AT_END = 1024
"""A GIF's trailer is looked for in so many last bytes: some programs write zeros or a comment after it."""


def missing_part(video: OpenVideo, reader: PacketReader, source: Source, damaged: int) -> str:
    """Return what the file lacks, as a clause; empty if it is whole.

    Args:
        video: the file.
        reader: its reader, at its end.
        source: the bytes.
        damaged: how many frames could not be decoded.
    """
    # The sample table after edit lists, which leave frames out and repeat them.
    declared = len(video.stream.index_entries) if video.form == "mov" else 0
    if declared > reader.packets:
        return f"its header declares {declared} frames and {reader.packets} are there"
    if reader.damaged + damaged:
        return f"{reader.damaged + damaged} of its frames are damaged"
    if video.form == "gif":
        return "" if _has_trailer(source) else "its end is missing"
    if video.form == "avi":
        return _missing_bytes(source)
    # With a table of frames, only the table counts: the sound may be longer or shorter than the video.
    return "" if declared and video.stream.frames else _missing_time(video, reader)


def _missing_time(video: OpenVideo, reader: PacketReader) -> str:
    """Compare the header's duration with the end of all streams: sound may be longer than the video."""
    start = (video.container.start_time or 0) / av.time_base
    expected = (video.container.duration or 0) / av.time_base
    # Some headers count the duration from zero, others from the first frame.
    end = max(reader.end_seconds, reader.end_seconds - start)
    missing = expected - end
    if missing <= max(_SHORT_OF_HEADER_SECONDS, _SHORT_OF_HEADER_SHARE * expected):
        return ""
    if missing <= 2 / float(video.stream.average_rate or 1):
        return ""
    return f"its header declares {expected:.2f} seconds and it ends at {end:.2f}"


def _missing_bytes(source: Source) -> str:
    """Compare an AVI's declared bytes with its own: its count of frames includes empty ones, which repeat a frame."""
    end = source.seek(0, 2)
    source.seek(4)
    declared = int.from_bytes(source.read(4), "little") + 8
    return f"its header declares {declared} bytes and {end} are there" if declared > end + 1 else ""


def _has_trailer(source: Source) -> bool:
    end = source.seek(0, 2)
    source.seek(max(0, end - _READ_AT_END))
    return source.read(_READ_AT_END).rstrip(b"\0").endswith(_GIF_TRAILER)
