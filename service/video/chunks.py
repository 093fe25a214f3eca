"""An AVI's chunks of metadata → counted before FFmpeg reads them: it compares each with those before it."""

from service.errors import BrokenVideoError
from service.video.source import Source
from service.video.window import Window

MOST_ITEMS = 5_000
"""Of metadata, in all lists together, and of lists, which may be empty: 100,000 in 1 MB took minutes."""

_LIST, _INFO = b"LIST", b"INFO"
_HEAD_BYTES = 12
"""Of a list: its mark, its size and its kind."""


class ChunkCount:
    """Counts the chunks of each list of metadata of one file."""

    def __init__(self, source: Source) -> None:
        self._window = Window(source)
        self._seen: set[int] = set()
        self._items = 0
        self._tail, self._tail_at = b"", 0

    def check(self, at: int, chunk: bytes) -> None:
        """Count the lists that begin in bytes of the file.

        Args:
            at: where they are in the file.
            chunk: the bytes.

        Raises:
            BrokenVideoError: they have more chunks than any real file.
        """
        if self._tail and self._tail_at + len(self._tail) == at:
            at, chunk = self._tail_at, self._tail + chunk
        found = chunk.find(_INFO, _HEAD_BYTES - 4)
        while found >= 0:
            is_list = chunk.startswith(_LIST, found - 8)
            if is_list and at + found not in self._seen:
                self._seen.add(at + found)
                self._require_few()
                size = int.from_bytes(chunk[found - 4 : found], "little")
                self._count(at + found + 4, at + found + size)
            found = chunk.find(_INFO, found + 1)
        self._tail = chunk[1 - _HEAD_BYTES :]
        self._tail_at = at + len(chunk) - len(self._tail)

    def _count(self, at: int, end: int) -> None:
        while at < end:
            head = self._window.at(at, 8)
            if len(head) < 8:
                return
            self._items += 1
            self._require_few()
            size = int.from_bytes(head[4:], "little")
            at += 8 + size + size % 2

    def _require_few(self) -> None:
        if max(self._items, len(self._seen)) > MOST_ITEMS:
            raise BrokenVideoError(
                f"The video has more than {MOST_ITEMS} items of metadata. Send it without metadata."
            )
