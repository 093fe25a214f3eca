"""A place elsewhere that has images: what is asked of it again, and whose fault it is when a file does not come."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from service.bulk.item import Body, sized, too_large
from service.errors import EmptyImageError, StorageError, UnreadableSourceError
from service.storage.file_system import ANSWER_SECONDS, FileGoneError, RemoteFiles
from service.storage.listing_pages import FoundFile, pages_below
from service.storage.shared_list import SharedList

T = TypeVar("T")

PAUSES_SECONDS = (0.5, 2.0, 5.0)
"""Before each further attempt where a place does not answer."""
LEAST_RATE = 100_000
"""Bytes a second that a place must give of an image."""


class Place:
    """A bucket, an owner on the hub or a web server. Paths are relative to it.

    A file that can not be read has an error of its own only while others can be read. Otherwise it is the place that
    does not answer or refuses, and this ends a run: a million rows with errors would help nobody.

    Args:
        files: of the place.
        pauses_seconds: see `PAUSES_SECONDS`.
        sleep: how it waits.
    """

    def __init__(
        self,
        files: RemoteFiles,
        pauses_seconds: tuple[float, ...] = PAUSES_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.files = files
        self._pauses_seconds = pauses_seconds
        self._sleep = sleep
        self._good = ""
        """The last file that was read."""
        self._lists: dict[tuple[str, str], SharedList] = {}

    def attempted(self, function: Callable[[], T]) -> T:
        """Return what a call of the place returns; one that gets no answer is made again.

        Raises:
            FileGoneError: there is no such file.
            StorageError: the place does not answer, or refuses.
        """
        for pause in self._pauses_seconds:
            try:
                return function()
            except StorageError as error:
                if error.reason in {"denied", "invalid"}:  # it would say the same
                    raise
            self._sleep(pause)
        return function()

    def files_below(self, folder: str, begin: str = "", *, keeps: bool) -> Iterator[FoundFile]:
        """Yield the files below a folder; see `pages_below`.

        Args:
            folder: in the place; empty for all of it.
            begin: how the paths below the folder begin.
            keeps: whether the list stays, so that the next call does not fetch it again.
        """
        found = SharedList(pages_below(self.files, folder, begin, self.attempted))
        if keeps:
            found = self._lists.setdefault((folder, begin), found)
        return found.files()

    def body(self, path: str, size: int | None, largest: int) -> Body:
        """Return the bytes of an image, or why there are none.

        Args:
            path: of its file.
            size: of it in bytes; None where the place has not said.
            largest: bytes that an image may have.

        Raises:
            StorageError: no file of the place can be read.
        """
        if size == 0:
            return EmptyImageError("The image has no bytes.")
        if size is not None and size > largest:
            return too_large(size, largest)
        try:
            found = self._beginning(path, largest + 1)
        except FileGoneError:
            return UnreadableSourceError("The file can not be read: it is not there.")
        except StorageError as error:
            self._require_answers(error)
            return UnreadableSourceError(f"The file can not be read: {error}")
        self._good = path
        return sized(found, largest)

    def _beginning(self, path: str, most: int) -> bytes:
        seconds = ANSWER_SECONDS + most / LEAST_RATE
        return self.attempted(lambda: self.files.beginning(path, most, seconds))

    def _require_answers(self, error: StorageError) -> None:
        """Raise the error of a file where the one that was read before can not be read any more, or there is none."""
        if not self._good:
            raise error
        try:
            self._beginning(self._good, 1)
        except FileGoneError:  # an answer
            return
        except StorageError as now:
            raise now from error
