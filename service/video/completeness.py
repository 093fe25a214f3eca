"""Whether a file that was read to its end is whole: its header declares more than came, or its frames are damaged."""

import av

from service.video.container import OpenVideo
from service.video.extent import missing_end
from service.video.packets import PacketReader
from service.video.source import Source

_SHORT_OF_HEADER_SECONDS = 1.0
_SHORT_OF_HEADER_SHARE = 0.05
"""A file that ends before its header's duration by more than both is cut short; headers are a little inexact."""


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
    if cut := missing_end(video.form, source):
        return cut
    if video.form == "avi":
        return ""
    # With a table of frames, only the table counts: the sound may be longer or shorter than the video.
    return "" if declared and video.stream.frames else _missing_time(video, reader)


def _missing_time(video: OpenVideo, reader: PacketReader) -> str:
    """Compare the header's duration with the end of all streams: sound may be longer than the video."""
    start = float(video.start)
    expected = (video.container.duration or 0) / av.time_base
    # Some headers count the duration from zero, others from the first frame.
    end = max(reader.end_seconds, reader.end_seconds - start)
    missing = expected - end
    if missing <= max(_SHORT_OF_HEADER_SECONDS, _SHORT_OF_HEADER_SHARE * expected):
        return ""
    if missing <= 2 / float(video.stream.average_rate or 1):
        return ""
    return f"its header declares {expected:.2f} seconds and it ends at {end:.2f}"
