"""An MP4's boxes → counted before FFmpeg reads them: a few bytes may announce millions of samples, each with memory.

ISO/IEC 14496-12, sections 4 and 8. What is counted is what FFmpeg keeps of it, also where boxes stand where they do not
belong.
"""

import zlib
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np

from service.errors import BrokenVideoError, TooManyFramesError
from service.video.source import Source
from service.video.window import BUFFER_BYTES, Window, read_fully

MOST_SAMPLES = 4_000_000
"""Of all tracks together, each once for every edit: FFmpeg keeps 70 bytes of each, whether the file has it or not. An
hour of 240 frames a second with sound has a million."""
FREE_BOXES, BOXES_PER_RUN, MOST_BOXES = 100_000, 16, 2_000_000
"""So many, and so many more for each run of samples in a fragment, but no more than the last. A header has hundreds,
and an hour of 60 fragments a second has 1.7 million. Each takes microseconds."""
MOST_ITEMS = 5_000
"""Of metadata: FFmpeg compares each with those before it."""
MOST_EDITS = 10_000
"""Of all tracks: each takes 50 µs."""
MOST_INDEX, MOST_FRAGMENTS = 20_000, 2_000_000
"""Fragments that indexes (`sidx`) name, which FFmpeg sorts one by one, and these and all others, once for each track,
for which it keeps 48 bytes. A day in pieces of five seconds has 17,280, an hour of 60 fragments a second 216,000."""
MOST_INFLATED_BYTES = 64 << 20
"""Of a compressed header."""

_NESTS = {
    **dict.fromkeys(
        (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex", b"mfra", b"tref",
         b"sinf", b"schi", b"strk", b"dinf", b"wave", b"ilst", b"iprp", b"ipco", b"clip", b"gmhd", b"meco", b"cmov"),
        0,
    ),
    b"stsd": 8,
    b"dref": 8,
    b"iinf": 6,
}  # fmt: skip
"""Boxes with boxes in them, and the bytes before those."""
_ITEMS = frozenset({b"ilst", b"udta", b"keys"})
_FROM_MOVIE = frozenset({b"mvhd", b"cmov"})


@dataclass(slots=True)
class _Track:
    """What is known of the track whose boxes are read."""

    samples: int = 0
    edits: int = 1
    is_sound: bool = False
    has_unit_steps: bool = False
    """Each sample lasts one unit: FFmpeg keeps pieces of 1024 samples of such sound."""
    chunks: int = 0
    in_chunks: int = 0
    """The samples of the largest chunk."""

    @property
    def kept(self) -> int:
        """How many entries FFmpeg keeps."""
        pieces = self.chunks * -(-self.in_chunks // 1024)
        kept = pieces if self.is_sound and self.has_unit_steps else self.samples
        return kept * self.edits


@dataclass(slots=True)
class _Counts:
    """What was found so far, in the file and in its compressed header."""

    boxes: int = 0
    runs: int = 0
    items: int = 0
    edits: int = 0
    tracks: int = 0
    index: int = 0
    fragments: int = 0
    samples: int = 0
    """Those of the tracks before the one that is read, and of all fragments."""
    track: _Track = field(default_factory=_Track)

    def add_box(self) -> None:
        self.boxes += 1
        most = FREE_BOXES + BOXES_PER_RUN * self.runs
        if self.boxes > min(most, MOST_BOXES):
            raise BrokenVideoError(
                f"The video has more boxes ({self.boxes}) than a real file needs. Encode it again."
            )

    def add_item(self) -> None:
        self.items += 1
        if self.items > MOST_ITEMS:
            raise BrokenVideoError(
                f"The video has more than {MOST_ITEMS} items of metadata. Send it without metadata."
            )

    def add_edits(self, count: int) -> None:
        self.edits += count
        if self.edits > MOST_EDITS:
            raise BrokenVideoError(
                f"The video's tracks have {self.edits} edits, more than the {MOST_EDITS} that are read. "
                "Encode it again."
            )

    def add_fragments(self, count: int, *, in_index: bool) -> None:
        self.fragments += count
        self.index += count if in_index else 0
        self.check_fragments()

    def check_fragments(self) -> None:
        if self.index > MOST_INDEX or self.fragments * self.tracks > MOST_FRAGMENTS:
            raise BrokenVideoError(
                "The video has more fragments, or more of them in its index, than are read. Send it in parts, or write "
                "it anew: ffmpeg -i video.mp4 -c copy whole.mp4"
            )

    def check_samples(self) -> None:
        found = self.samples + self.track.kept
        if found > MOST_SAMPLES:
            raise TooManyFramesError(
                f"The video announces {found} samples of images and sound, more than the {MOST_SAMPLES} that are read. "
                "Send it in parts, or encode it again."
            )


class BoxCount:
    """Counts the boxes of one file, each once."""

    def __init__(self, source: Source) -> None:
        self._walk = _Walk(source, _Counts())

    def check(self, at: int, chunk: bytes) -> None:
        """Count the boxes that begin in or before bytes of the file, with those within them.

        Args:
            at: where they are in the file.
            chunk: the bytes.

        Raises:
            BrokenVideoError: they have more boxes, edits or metadata than any real file.
            TooManyFramesError: they announce more samples than are read.
        """
        self._walk.up_to(at + len(chunk))


class _Walk:
    """Goes through the boxes of a file in their order."""

    def __init__(self, source: Source, counts: _Counts) -> None:
        self._source = source
        self._counts = counts
        self._window = Window(source)
        self._next = 0
        """Where the next box that is in no other one begins."""
        self._has_ended = False

    def up_to(self, end: int | None) -> None:
        """Count all boxes that begin before a place, with those within them; None: all of the file."""
        while not self._has_ended and (end is None or self._next < end):
            behind = self._count(self._next)
            self._counts.check_samples()  # a track may say first how many it has, and later that they are sound
            self._has_ended = behind is None
            self._next = self._next if behind is None else behind

    def _count(self, at: int, limit: int | None = None) -> int | None:
        """Count a box and those in it; return where it ends, None where the file does."""
        waiting = [(at, limit, b"")]
        first = True
        behind_first: int | None = None
        while waiting:
            at, limit, parent = waiting.pop()
            head = self._window.at(at, 16)
            if len(head) < 8 or (limit is not None and at + 8 > limit):
                continue
            size, kind, start = int.from_bytes(head[:4]), head[4:8], at + 8
            if size == 1:
                size, start = int.from_bytes(head[8:]), at + 16
            behind = limit if size == 0 else at + max(size, start - at)
            if limit is not None and behind is not None:
                behind = min(behind, limit)
            self._counts.add_box()
            if parent in _ITEMS:
                self._counts.add_item()
            if first:
                first, behind_first = False, behind
            elif behind is not None:
                waiting.append((behind, limit, parent))
            self._take(kind, start, behind)
            inner = self._start_within(kind, start, behind)
            if inner is not None:
                waiting.append((inner, behind, kind))
        return behind_first

    def _start_within(self, kind: bytes, start: int, behind: int | None) -> int | None:
        """Return where the boxes within a box begin; None where it has none."""
        if kind == b"meta":
            return self._handler(start, behind)
        if kind in {b"free", b"hoov"} and self._window.at(start, 8)[4:] in _FROM_MOVIE:
            return start  # FFmpeg takes it for the header, where there is no other one
        if kind == b"cmvd":
            self._inflate(start, behind)
            return None
        if kind == b"keys":
            return start + 8
        within = _NESTS.get(kind)
        return None if within is None else start + within

    def _handler(self, start: int, behind: int | None) -> int | None:
        """Return where the handler of metadata begins: FFmpeg looks for it in steps of four bytes."""
        at = start
        while behind is None or at < behind:
            size = BUFFER_BYTES if behind is None else min(BUFFER_BYTES, behind - at)
            piece = self._window.at(at, size)
            found = piece.find(b"hdlr")
            while found >= 0 and found % 4:
                found = piece.find(b"hdlr", found + 1)
            if found >= 0:
                return at + found - 4
            if len(piece) < size:
                return None
            at += size
        return None

    def _inflate(self, start: int, behind: int | None) -> None:
        """Count the boxes of a compressed header.

        Raises:
            BrokenVideoError: it is larger than any real one.
        """
        size = (behind - start if behind is not None else MOST_INFLATED_BYTES) - 4
        announced = int.from_bytes(self._window.at(start, 4))
        if announced > MOST_INFLATED_BYTES or size > MOST_INFLATED_BYTES:
            raise BrokenVideoError("The video's compressed header is too large. Encode it again.")
        self._source.seek(start + 4)
        try:
            header = zlib.decompressobj().decompress(
                read_fully(self._source, max(0, size)), MOST_INFLATED_BYTES
            )
        except zlib.error:
            return
        _Walk(BytesIO(header), self._counts).up_to(None)

    def _take(self, kind: bytes, start: int, behind: int | None) -> None:
        """Note what a box says of the samples."""
        counts = self._counts
        track = counts.track
        match kind:
            case b"trak":
                counts.samples += track.kept
                counts.track = _Track()
                counts.tracks += 1
                counts.check_fragments()
            case b"stsz" | b"stz2":
                track.samples = max(track.samples, self._number(start + 8))
            case b"hdlr":
                track.is_sound = track.is_sound or self._window.at(start + 8, 4) == b"soun"
            case b"stts":
                track.has_unit_steps = self._number(start + 4) == 1 == self._number(start + 12)
            case b"stco" | b"co64":
                track.chunks = max(track.chunks, self._number(start + 4))
            case b"stsc":
                track.in_chunks = max(track.in_chunks, self._largest(start, behind))
            case b"elst":
                counts.add_edits(self._number(start + 4))
                track.edits = max(track.edits, self._number(start + 4))
            case b"sidx" | b"moof" | b"trun":
                self._take_fragment(kind, start)

    def _take_fragment(self, kind: bytes, start: int) -> None:
        """Note a fragment, a run of samples in one, or an index of them."""
        counts = self._counts
        if kind == b"trun":
            counts.runs += 1
            counts.samples += self._number(start + 4)
        elif kind == b"moof":
            counts.add_fragments(1, in_index=False)
        else:
            times = 16 if self._window.at(start, 1) > b"\0" else 8
            count = int.from_bytes(self._window.at(start + 12 + times + 2, 2))
            counts.add_fragments(count, in_index=True)

    def _largest(self, start: int, behind: int | None) -> int:
        """Return the largest number of samples of a chunk."""
        count = self._number(start + 4)
        size = 12 * count if behind is None else min(12 * count, max(0, behind - start - 8))
        self._source.seek(start + 8)
        table = read_fully(self._source, size)
        counts = np.frombuffer(table, ">u4", len(table) // 12 * 3)[1::3]
        return int(counts.max(initial=0))

    def _number(self, at: int) -> int:
        return int.from_bytes(self._window.at(at, 4))
