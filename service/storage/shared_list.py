"""The list of a folder elsewhere: fetched once, page by page as it is needed, whoever reads it and how often."""

import threading
import zlib
from collections.abc import Iterator

from pydantic_core import from_json, to_json

from service.storage.listing_pages import FoundFile


class SharedList:
    """The files of a list that several threads read, each from its beginning, at its own pace.

    Nobody waits for a page that has come already. Pages are kept packed: a million names take some megabytes. After an
    error each reader gets the pages before it, and then the error: a part of a list never passes for all of it.

    Args:
        pages: gives the pages; the first reader that needs a page takes it.
    """

    def __init__(self, pages: Iterator[list[FoundFile]]) -> None:
        self._pages = pages
        self._packed: list[bytes] = []
        self._error: Exception | None = None
        self._ended = False
        self._turn = threading.Lock()

    def files(self) -> Iterator[FoundFile]:
        """Yield all files.

        Raises:
            FileGoneError: there is no such folder.
            StorageError: the place does not answer, or refuses.
        """
        at = 0
        while at < len(self._packed) or self._has_page(at):
            listed: list[tuple[str, int | None]] = from_json(zlib.decompress(self._packed[at]))
            yield from (FoundFile(path, size) for path, size in listed)
            at += 1

    def _has_page(self, at: int) -> bool:
        """Return whether there is such a page, after taking the next one where it has not come yet."""
        with self._turn:
            if at >= len(self._packed) and not self._ended:
                self._take()
            if at < len(self._packed):
                return True
            if self._error is not None:
                raise self._error
            return False

    def _take(self) -> None:
        try:
            page = next(self._pages, None)
        except Exception as error:  # noqa: BLE001  # each reader that comes so far gets it
            self._error, self._ended = error, True
            return
        if page is None:
            self._ended = True
        else:
            listed = [(one.path, one.size) for one in page]
            self._packed.append(zlib.compress(to_json(listed), 1))
