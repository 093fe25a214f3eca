"""A Matroska's or WebM's header → its elements counted before FFmpeg keeps them, wherever in the file they are.

EBML (RFC 8794) and Matroska (RFC 9559, section 5.1). FFmpeg looks for a part of the header where another one says that
it is, and behind damage byte by byte; so each place that begins like one is counted.
"""

from service.errors import BrokenVideoError
from service.video.source import Source
from service.video.window import Window

MOST_ELEMENTS = 100_000
"""Of tags, chapters, attachments, tracks and lists of places together: FFmpeg keeps 200 bytes and more of each."""
MOST_INDEX_BYTES = 8 << 20
"""Of the index, of which FFmpeg keeps six times as much. An hour of 60 key frames a second has half of it."""
MOST_LATE_ENTRIES = 1000
"""Entries of the index behind one of a later time: FFmpeg moves all later ones, 100,000 in 40 µs. Writers sort them."""
MOST_TAG_WORK = 10**9
"""Groups of tags × the square of all tags, 1 ns each: for each group FFmpeg compares all tags with each other."""
_LEAST_GROUPS = 5

_TAGS, _CUES = b"\x12\x54\xc3\x67", b"\x1c\x53\xbb\x6b"
_PARTS = (
    _TAGS,
    _CUES,
    b"\x10\x43\xa7\x70",  # chapters
    b"\x19\x41\xa4\x69",  # attachments
    b"\x16\x54\xae\x6b",  # tracks
    b"\x11\x4d\x9b\x74",  # places of the others
    b"\x15\x49\xa9\x66",  # information
)
_GROUP, _TAG = 0x7373, 0x67C8
_CUE, _CUE_TIME = 0xBB, 0xB3
_NESTS = frozenset(
    {
        *(_GROUP, _TAG, 0x63C0),
        *(0x45B9, 0xB6, 0x80, 0x8F, 0x6944),
        *(0x61A7, 0xAE, 0xE0, 0xE1, 0xE2, 0xE3, 0xE4, 0xE8, 0xE9, 0x55B0, 0x55D0, 0x7670),
        *(0x6D80, 0x6240, 0x5034, 0x5035),
        *(0x41E4, 0xBB, 0xB7, 0xDB, 0x4DBB, 0x6924),
    }
)  # fmt: skip
"""Elements with elements in them, within the parts of the header."""
_ID_BYTES, _SIZE_BYTES = 4, 8
_LEAST_PART = 1 << 28
"""The kinds of parts have four bytes."""


class ElementCount:
    """Counts the elements of each part of the header of one file."""

    def __init__(self, source: Source) -> None:
        self._window = Window(source)
        self._seen: set[int] = set()
        self._elements = self._index_bytes = self._late = self._groups = self._tags = 0
        self._latest = 0
        """The latest time in all indexes."""
        self._tail, self._tail_at = b"", 0

    def check(self, at: int, chunk: bytes) -> None:
        """Count the parts that begin in bytes of the file.

        Args:
            at: where they are in the file.
            chunk: the bytes.

        Raises:
            BrokenVideoError: they have more elements than any real file.
        """
        if self._tail and self._tail_at + len(self._tail) == at:
            at, chunk = self._tail_at, self._tail + chunk
        for part in _PARTS:
            found = chunk.find(part)
            while found >= 0:
                if at + found not in self._seen:
                    self._seen.add(at + found)
                    self._count(at + found, is_index=part == _CUES)
                found = chunk.find(part, found + 1)
        self._tail = chunk[1 - _ID_BYTES :]
        self._tail_at = at + len(chunk) - len(self._tail)

    def _count(self, at: int, *, is_index: bool) -> None:
        """Count the elements of a part, up to its end or to what is no element."""
        end: int | None = None
        first = True
        while end is None or at < end:
            self._elements += 1
            self._require_few()
            head = self._head(at)
            if head is None:
                return
            kind, at, size = head
            if first:
                first = False
                end = None if size is None else at + size
                if is_index and end is not None:
                    self._index_bytes += end - at
                    self._require_few()
                    self._count_late(at, end)
                    return
                continue
            if kind >= _LEAST_PART:  # the next part
                return
            self._groups += kind == _GROUP
            self._tags += kind == _TAG
            if kind not in _NESTS:
                at += size or 0

    def _count_late(self, at: int, end: int) -> None:
        """Go through the entries of an index; what is no element ends it."""
        time = self._latest
        while at < end and (head := self._head(at)) is not None:
            kind, at, size = head
            if size is None:
                break
            if kind == _CUE:
                self._note(time)
            elif kind == _CUE_TIME:
                time = int.from_bytes(self._window.at(at, min(size, _SIZE_BYTES)))
            at += 0 if kind == _CUE else size
            if self._late > MOST_LATE_ENTRIES:
                break
        self._note(time)
        self._require_few()

    def _note(self, time: int) -> None:
        """Note the time of an entry of the index."""
        self._late += time < self._latest
        self._latest = max(self._latest, time)

    def _head(self, at: int) -> tuple[int, int, int | None] | None:
        """Return the kind of an element, where its content begins, and its bytes, None where it does not say.

        Where there is no element return None.
        """
        head = self._window.at(at, _ID_BYTES + _SIZE_BYTES)
        width = 9 - head[0].bit_length() if head else _ID_BYTES + 1
        if width > _ID_BYTES or len(head) <= width:
            return None
        size_width = 9 - head[width].bit_length()
        if size_width > _SIZE_BYTES:
            return None
        most = (1 << 7 * size_width) - 1
        size = int.from_bytes(head[width : width + size_width]) & most
        return (
            int.from_bytes(head[:width]),
            at + width + size_width,
            None if size == most else size,
        )

    def _require_few(self) -> None:
        work = max(_LEAST_GROUPS, self._groups) * self._tags**2
        is_index_long = self._index_bytes > MOST_INDEX_BYTES or self._late > MOST_LATE_ENTRIES
        if self._elements > MOST_ELEMENTS or is_index_long or work > MOST_TAG_WORK:
            raise BrokenVideoError(
                "The video has more tags, chapters, attachments or index entries than are read, or these are out of "
                "order. Send it without them: "
                "ffmpeg -i video.mkv -map 0:v -c copy -map_metadata -1 -map_chapters -1 small.mkv"
            )
