"""A file's structure → whether its end is missing: what its headers declare, against its bytes.

Each function reads headers only and returns a clause, empty where nothing is missing or the headers do not show it.
What follows the last known structure is no damage: cameras and editors append bytes of their own.
"""

from collections.abc import Callable, Mapping

from service.video.source import Source
from service.video.window import Window, read_fully

MOST_STEPS = 500_000
"""After so many headers, a second of work, the rest is taken for whole: a hostile file may be nothing else."""
_END_IS_MISSING = "its end is missing"


class _Bytes:
    """Reads a file here and there, and counts the steps."""

    def __init__(self, source: Source, most_steps: int) -> None:
        self._window = Window(source)
        self._steps = most_steps
        self.end = _true_end(source)

    def at(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset, fewer behind the end."""
        return self._window.at(offset, size)

    def number(self, offset: int, size: int, *, little: bool = False) -> int:
        return int.from_bytes(self.at(offset, size), "little" if little else "big")

    @property
    def has_more(self) -> bool:
        """Whether more headers were found than may be read."""
        return self._steps < 0

    def may_step(self) -> bool:
        self._steps -= 1
        return self._steps >= 0

    def declares(self, end: int) -> str:
        """Return the clause for a part that declares to end there; empty if it does."""
        return "" if end <= self.end else f"it declares {end} bytes and {self.end} are there"

    def rest(self, offset: int) -> str:
        """Return the clause for what is too short for a header at this offset; empty for zeros."""
        return _END_IS_MISSING if self.at(offset, self.end - offset).strip(b"\0") else ""


def _true_end(source: Source) -> int:
    """Return the size. One that is only announced is known when the last byte has arrived, or does not come."""
    announced = source.seek(0, 2)
    source.seek(max(0, announced - 1))
    source.read(1)
    return source.seek(0, 2)


_BOXES = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"meta", b"udta", b"free", b"skip",
     b"wide", b"uuid", b"emsg", b"prft", b"pnot"}
)  # fmt: skip


def _cut_boxes(file: _Bytes) -> str:
    """ISO/IEC 14496-12, section 4.2: MP4, MOV and AVIF."""
    at, last, has_fragments = 0, b"", False
    while at + 8 <= file.end and file.may_step():
        start = file.at(at, 8)
        size, kind, header = int.from_bytes(start[:4]), start[4:], 8
        if size == 1:
            size, header = file.number(at + 8, 8), 16
        if kind not in _BOXES or not size:
            return ""
        if clause := file.declares(at + max(size, header)):
            return clause
        if kind == b"sidx" and (clause := file.declares(at + size + _indexed_bytes(file, at))):
            return clause
        has_fragments = has_fragments or kind == b"moof"
        at, last = at + max(size, header), kind
    # A fragment's data follows it, and the next one follows that at once.
    if last == b"moof":
        return _END_IS_MISSING
    return _END_IS_MISSING if has_fragments and _may_begin_box(file.at(at, file.end - at)) else ""


def _may_begin_box(rest: bytes) -> bool:
    """Return whether fewer than eight bytes may be the begin of a box: of less than 16 MiB, as a fragment's is."""
    return rest[:1] == b"\0" and any(kind.startswith(rest[4:]) for kind in _BOXES)


def _indexed_bytes(file: _Bytes, at: int) -> int:
    """Return how many bytes after a segment index its segments end (ISO/IEC 14496-12, section 8.16.3)."""
    wide = 8 if file.number(at + 8, 1) else 4
    first = at + 20 + 2 * wide
    skipped = file.number(first - wide, wide)
    count = file.number(first + 2, 2)
    return skipped + sum(
        file.number(first + 4 + 12 * place, 4) & 0x7FFFFFFF for place in range(count)
    )


_OPEN_SIZES = frozenset({0, 0xFFFFFFFF})
"""What a writer that can not go back leaves as the size of an AVI and of its list of packets."""


def _cut_chunks(file: _Bytes) -> str:
    """RIFF: AVI, its extension for large files, and WebP. A missing byte of padding is no damage."""
    at, end = 0, file.end
    while at + 12 <= file.end and file.may_step():
        start = file.at(at, 8)
        kind, size = start[:4], int.from_bytes(start[4:], "little")
        if kind == b"RIFF":
            end = file.end if size in _OPEN_SIZES else at + 8 + size
            # Some writers count a byte of padding that they do not write.
            if end > file.end + 1:
                return file.declares(end)
            at += 12
            continue
        if at >= end or not kind.strip(b"\0"):
            return ""
        if kind == b"LIST" and size in _OPEN_SIZES:
            at += 12
            continue
        if clause := file.declares(at + 8 + size):
            return clause
        at += 8 + size + size % 2
    return file.rest(at) if at < end else ""


_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_IN_OPEN_PARTS = frozenset(
    {
        *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF, 0xEC, 0xBF, _CLUSTER, 0x1A45DFA3, _SEGMENT),
    }
)
"""What may be in a segment and a cluster (RFC 9559, sections 5.1 and 5.1.3), or begin the next file."""


def _cut_elements(file: _Bytes) -> str:
    """EBML (RFC 8794, sections 4 to 6): Matroska and WebM. Live ones leave the sizes of segment and clusters open.

    What follows a segment of known size is no part of the video.
    """
    at, in_segment = 0, False
    while at < file.end and file.may_step():
        kind_bytes = 9 - file.number(at, 1).bit_length()
        if kind_bytes > 4:
            return ""
        kind = file.number(at, kind_bytes)
        if in_segment and at + kind_bytes <= file.end and kind not in _IN_OPEN_PARTS:
            return ""
        size_bytes = 9 - file.number(at + kind_bytes, 1).bit_length()
        start = at + kind_bytes + size_bytes
        if start > file.end or size_bytes > 8:
            return _END_IS_MISSING if in_segment and start > file.end else ""
        size = file.number(at + kind_bytes, size_bytes) & ((1 << 7 * size_bytes) - 1)
        is_open = size == (1 << 7 * size_bytes) - 1
        if not is_open and (clause := file.declares(start + size)):
            return clause
        if kind == _SEGMENT and not is_open:
            return ""
        in_segment = in_segment or kind == _SEGMENT
        at = start if is_open and kind in {_SEGMENT, _CLUSTER} else start + size
    return ""


def _cut_png(file: _Bytes) -> str:
    """PNG, third edition, section 5.3: every chunk up to the last, IEND."""
    at = 8
    while at + 12 <= file.end and file.may_step():
        kind, size = file.at(at + 4, 4), file.number(at, 4)
        if clause := file.declares(at + 12 + size):
            return clause
        if kind == b"IEND":
            return ""
        at += 12 + size
    return _END_IS_MISSING


def is_animated_png(source: Source, most_steps: int = 10_000) -> bool:
    """Return whether a PNG has an animation control chunk before its pixels (PNG, third edition, section 11.3.6.1).

    Args:
        source: the file; where it still arrives, this waits for the chunks before the pixels.
        most_steps: how many chunks to read at most.
    """
    at = 8
    for _ in range(most_steps):
        source.seek(at)
        header = read_fully(source, 8)
        if len(header) < 8 or header[4:] in {b"IDAT", b"IEND"}:
            return False
        if header[4:] == b"acTL":
            return True
        at += 12 + int.from_bytes(header[:4], "big")
    return False


_CUTS: Mapping[str, Callable[[_Bytes], str]] = {
    "mov": _cut_boxes,
    "avi": _cut_chunks,
    "matroska": _cut_elements,
    "apng": _cut_png,
}


def missing_end(form: str, source: Source, most_steps: int = MOST_STEPS) -> str:
    """Return what shows that a file's end is missing, as a clause; empty if nothing does.

    Args:
        form: the container's short name, as `OpenVideo.form`.
        source: the whole file; where it still arrives, this waits for its end.
        most_steps: how many headers to read at most.
    """
    cut = _CUTS.get(form)
    return cut(_Bytes(source, most_steps)) if cut is not None else ""


def has_too_many_boxes(source: Source) -> bool:
    """Return whether an MP4 or MOV has more boxes beside each other than are read; its end must be there, or come."""
    file = _Bytes(source, MOST_STEPS)
    _cut_boxes(file)
    return file.has_more
