"""Files of places whose file systems ask for each block by itself: all blocks are of the version that was opened."""

from collections.abc import Callable
from typing import Any

Open = Callable[[Any, str, int, int], Any]
"""Opens a file by file system, path, first byte and bytes of a block; returns a stream."""


class Blocks:
    """A file whose every read is a request.

    Args:
        fetch: returns the bytes from one on up to another, which is not among them.
        offset: the byte to read from.
        size: of the file in bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], offset: int, size: int) -> None:
        self._fetch = fetch
        self._offset = offset
        self._size = size

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many; empty at the end."""
        end = min(self._size, self._offset + size)
        if end <= self._offset:
            return b""
        block = self._fetch(self._offset, end)
        self._offset += len(block)
        return block

    def close(self) -> None:
        """Nothing is open between two reads."""


def _opened(fs: Any, path: str, offset: int, block_bytes: int, **version: str) -> Any:  # noqa: ANN401
    file = fs.open(path, "rb", block_size=block_bytes, cache_type="none", **version)
    file.seek(offset)
    return file


def _opened_gs(fs: Any, path: str, offset: int, block_bytes: int) -> Any:  # noqa: ANN401
    """Open the generation that a file has now. Its own stream would read each block of the newest one."""
    found = fs.info(path)
    generation, size = found.get("generation"), found.get("size")
    if not generation or size is None:
        return _opened(fs, path, offset, block_bytes)

    def fetch(begin: int, end: int) -> bytes:
        block: bytes = fs.cat_file(path, start=begin, end=end, generation=generation)
        return block

    return Blocks(fetch, offset, int(size))


def _opened_hf(fs: Any, path: str, offset: int, block_bytes: int) -> Any:  # noqa: ANN401
    """Open a file as the last commit has left it. A branch would give each block of its newest commit."""
    resolved = fs.resolve_path(path)
    if not hasattr(resolved, "path_in_repo"):  # a bucket of the hub has no commits
        return _opened(fs, path, offset, block_bytes)
    commit = fs.info(path, expand_info=True).get("last_commit")
    if commit is None:
        return _opened(fs, path, offset, block_bytes)
    repository = resolved.root.partition("@")[0]
    pinned = f"{repository}@{commit.oid}/{resolved.path_in_repo}"
    return _opened(fs, pinned, offset, block_bytes)


OPEN: dict[str, Open] = {"gs": _opened_gs, "hf": _opened_hf}
"""By scheme, what opens a file. S3's file system pins the ETag by itself, and a web server's answer is one stream."""


def opened(fs: Any, scheme: str, path: str, offset: int, block_bytes: int) -> Any:  # noqa: ANN401
    """Return a stream of a file as it is now.

    Args:
        fs: fsspec's file system.
        scheme: of the place.
        path: of the file.
        offset: the byte to read from.
        block_bytes: of a request.

    Raises:
        Exception: what the file system raises.
    """
    return OPEN.get(scheme, _opened)(fs, path, offset, block_bytes)
