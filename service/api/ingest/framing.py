"""A multipart body, chunk by chunk, → its parts: their headers, pieces of their content, their ends (RFC 2046, 5.1)."""

import re
from typing import Protocol

from service.errors import MalformedMultipartError

HEADER_BYTES = 16 * 1024
"""The headers of one part."""
PADDING_BYTES = 64
"""The blanks that may follow a boundary."""
PREAMBLE_BYTES = 64 * 1024
"""Text before the first boundary is skipped; a body without a boundary is refused after so much."""
MOST_LOOKALIKES = 1000
"""Lines of content that begin with the boundary. By the standard there is none, and each one costs time."""
SHOWN_BYTES = 40

CLOSING = b"--"
LINE_ENDS = (b"\r\n", b"\n")

_FOLD = re.compile(rb"\r?\n[ \t]+")
_NAME = re.compile(rb"[!-9;-~]+")
"""Printable ASCII without a colon (RFC 5322, 2.2)."""

Headers = list[tuple[bytes, bytes]]
"""Names and values, as they were sent."""


class PartEvents(Protocol):
    """What is called for each part, in this order."""

    def begin(self, headers: Headers) -> None: ...
    def content(self, piece: bytes) -> None: ...
    def end(self) -> None: ...


class PartReader:
    """Splits a body at its boundaries. The preamble and the epilogue are skipped.

    The first boundary decides how lines end: with CR LF, as the standard says, or with LF, as some mail libraries
    write them.

    Args:
        boundary: as the content type names it.
        events: called for each part. It must not refer to this reader, or both would outlive their request.
    """

    def __init__(self, boundary: bytes, events: PartEvents) -> None:
        self.parts = 0
        self.ended = False
        self._events = events
        self._boundary = boundary
        self._line_ends: tuple[bytes, ...] = LINE_ENDS
        self._delimiter = b"\n--" + boundary
        self._rest = b""
        self._at_start = True
        self._in_headers = False
        self._skipped = 0
        self._lookalikes = 0

    def write(self, chunk: bytes) -> None:
        """Read the next chunk.

        Raises:
            MalformedMultipartError: it can not be parsed.
        """
        data = self._rest + chunk if self._rest else chunk
        position, more = 0, True
        while more and not self.ended:
            read = self._read_headers if self._in_headers else self._read_content
            position, more = read(data, position)
        self._rest = b"" if self.ended else data[position:]

    def no_boundary(self) -> MalformedMultipartError:
        """Return the error for a body without a boundary."""
        shown = self._boundary[:SHOWN_BYTES].decode("latin-1")
        return MalformedMultipartError(
            f"The form can not be parsed: no line of the body is the boundary --{shown} that its content type names. "
            "Let your HTTP client build both."
        )

    def _read_headers(self, data: bytes, position: int) -> tuple[int, bool]:
        """Return where the content begins; or where the headers do, and that they have not arrived."""
        line_end = self._line_ends[0]
        if data.startswith(line_end, position):
            end, after = position, position + len(line_end)
        else:
            end = data.find(2 * line_end, position, position + HEADER_BYTES)
            after = end + 2 * len(line_end)
        if end < 0:
            if len(data) - position >= HEADER_BYTES:
                raise MalformedMultipartError(
                    f"The form can not be parsed: the headers of a part have more than {HEADER_BYTES} bytes."
                )
            return position, False
        self._in_headers = False
        self._events.begin(_headers(data[position:end], line_end))
        return after, True

    def _read_content(self, data: bytes, position: int) -> tuple[int, bool]:
        """Pass on content up to the next boundary; return what follows it, or what may be the beginning of one."""
        found = self._find(data, position)
        while found is not None:
            after = found + len(self._delimiter)
            ending = self._ending(data, after)
            if ending != b"":
                self._pass_on(data, position, found)
                if ending is None:
                    return max(found, 0), False
                self._pass_boundary(ending)
                return after + len(ending), True
            self._count_lookalike()
            found = self._find(data, after)
        kept = max(position, len(data) - len(self._delimiter) + 1)
        self._pass_on(data, position, kept)
        return kept, False

    def _find(self, data: bytes, position: int) -> int | None:
        """Return where a line end and the boundary are; -1 at the body's start, where there is no line end."""
        if self._at_start and not position and data.startswith(self._delimiter[1:]):
            return -1
        found = data.find(self._delimiter, position)
        return None if found < 0 else found

    def _ending(self, data: bytes, position: int) -> bytes | None:
        """Return what ends the line of a boundary: `--`, or blanks and a line end.

        It is empty where the line is none of a boundary, and None where more must arrive to know it.
        """
        tail = data[position : position + PADDING_BYTES + 2]
        if tail.startswith(CLOSING):
            return CLOSING
        text = tail.lstrip(b" \t")
        for line_end in self._line_ends:
            if text.startswith(line_end):
                return tail[: len(tail) - len(text) + len(line_end)]
        may_continue = text in {b"", b"\r"} or tail == b"-"
        return None if may_continue and len(tail) < PADDING_BYTES + 2 else b""

    def _pass_boundary(self, ending: bytes) -> None:
        self._at_start = False
        if self.parts:
            self._events.end()
        if ending == CLOSING:
            self.ended = True
            return
        if not self.parts:
            line_end = LINE_ENDS[0] if ending.endswith(LINE_ENDS[0]) else LINE_ENDS[1]
            self._line_ends = (line_end,)
            self._delimiter = line_end + b"--" + self._boundary
        self.parts += 1
        self._in_headers = True

    def _pass_on(self, data: bytes, start: int, end: int) -> None:
        if end <= start:
            return
        self._at_start = False
        if self.parts:
            self._events.content(data[start:end])
            return
        self._skipped += end - start
        if self._skipped > PREAMBLE_BYTES:
            raise self.no_boundary()

    def _count_lookalike(self) -> None:
        self._lookalikes += 1
        if self._lookalikes > MOST_LOOKALIKES:
            raise MalformedMultipartError(
                f"The form can not be parsed: more than {MOST_LOOKALIKES} lines of content begin with its boundary. "
                "Let your HTTP client choose a longer one."
            )


def _headers(block: bytes, line_end: bytes) -> Headers:
    """Return the headers; one that continues on lines that begin with a blank is put together."""
    if not block:
        return []
    headers = []
    for line in _FOLD.sub(b" ", block).split(line_end):
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name.rstrip(b" \t")):
            raise MalformedMultipartError(
                f"The form can not be parsed: a part has the header line {line[:SHOWN_BYTES]!r}, which names no header."
            )
        headers.append((name.rstrip(b" \t").lower(), value.strip(b" \t")))
    return headers
