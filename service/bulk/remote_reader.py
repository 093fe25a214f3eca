"""A file of a place elsewhere as Python's libraries read one: a stream that seeks by asking for another part."""

import errno
import io
from contextlib import suppress

from service.bulk.place import Place
from service.errors import StorageError
from service.storage.file_system import ANSWER_SECONDS, CHUNK_BYTES, FileGoneError, Stream

SMALL_GAP_BYTES = 1 << 20
"""So much is read and dropped, because another request takes longer."""


class RemoteReader(io.RawIOBase):
    """Reads a file of a place. A connection that breaks is gone on with, but not in another file that took its place.

    The end of a web server's file is an error where the file was overwritten meanwhile.

    Args:
        place: where it is.
        path: of the file.
        size: in bytes.
        validator: what the place said of this file; see `RemoteFile`. Empty: one of the same size in its place is not
            noticed.
    """

    def __init__(self, place: Place, path: str, size: int, validator: str = "") -> None:
        super().__init__()
        self._place = place
        self._path = path
        self._size = size
        self._validator = validator
        self._position = 0
        self._gave = False
        self._stream: Stream | None = None
        self._stream_at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, begin + offset)
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Fill a buffer, as far as the next block of the place goes.

        Raises:
            OSError: the file is not there any more, or another is in its place.
            StorageError: the place does not answer, or refuses.
        """
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            self._require_one_file()
            return 0
        try:
            block = self._place.attempted(lambda: self._read(wanted))
        except FileGoneError as error:
            raise FileNotFoundError(errno.ENOENT, "it is not there any more") from error
        buffer[: len(block)] = block
        self._position += len(block)
        self._gave = True
        return len(block)

    def close(self) -> None:
        self._leave()
        super().close()

    def _read(self, wanted: int) -> bytes:
        try:
            stream = self._at_position()
            block = self._block(stream, wanted)
        except FileGoneError:  # it, or the version that was opened
            self._leave()
            self._require_unchanged()
            raise
        except BaseException:
            self._leave()
            raise
        return block

    def _at_position(self) -> Stream:
        if not 0 <= self._position - self._stream_at <= SMALL_GAP_BYTES:
            self._leave()
        if self._stream is None:
            self._stream, self._stream_at = self._place.files.open(self._path, self._position)
            if self._gave:
                self._require_unchanged()
        while self._stream_at < self._position:
            self._block(self._stream, min(CHUNK_BYTES, self._position - self._stream_at))
        return self._stream

    def _block(self, stream: Stream, wanted: int) -> bytes:
        block = self._place.files.read(stream, self._path, wanted, ANSWER_SECONDS)
        if not block:
            missing = self._size - self._stream_at
            raise StorageError(
                f"{self._place.files.url}/{self._path}: the connection ended {missing} bytes too soon."
            )
        url = self._place.files.url
        if len(block) > wanted or (len(block) < wanted and not url.is_web):  # the web's is a stream
            raise StorageError(
                f"{url}/{self._path}: {len(block)} bytes came where {wanted} were asked for: this is not that part of "
                "the file. Does the server, or a proxy before it, ignore Range? Fetch the file first.",
                "invalid",
            )
        self._stream_at += len(block)
        return block

    def _require_one_file(self) -> None:
        """Check at the end that a web server's file was not overwritten in its place: its answer then has both."""
        if not (self._gave and self._validator and self._place.files.url.is_web):
            return
        self._gave = False
        with suppress(FileGoneError):
            self._place.attempted(self._require_unchanged)

    def _require_unchanged(self) -> None:
        now = self._place.files.stat(self._path)
        if (now.size, now.validator) != (self._size, self._validator):
            raise OSError(errno.ESTALE, "it was replaced while it was read")

    def _leave(self) -> None:
        if self._stream is not None:
            self._place.files.close(self._stream)
        self._stream = None
