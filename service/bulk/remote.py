"""Images elsewhere: the files of a bucket, a hub or a web server that a URL names, read without a copy on disk."""

import errno
import glob
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from service.bulk.item import Item
from service.bulk.pattern import pattern_regex
from service.bulk.place import Place
from service.bulk.remote_reader import RemoteReader
from service.bulk.shard import EXTENSIONS, is_shard
from service.bulk.table import is_table
from service.errors import ConfigurationError, StorageError
from service.storage.file_system import CHUNK_BYTES, FileGoneError, RemoteFiles, open_remote
from service.storage.url import StorageUrl, parse_source

USUAL_BYTES = 1 << 20
"""Of an image whose size nobody says."""


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file of a place: as much of `pathlib.Path` as reading images, tar shards and tables needs.

    `size` is in bytes; None where the place has not said.
    """

    place: Place
    path: str
    size: int | None = None

    def __str__(self) -> str:
        return f"{self.place.files.url}/{self.path}"

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def item(self, largest: int) -> Item:
        """Return the image in this file; it is fetched when it is needed."""
        far = USUAL_BYTES if self.size is None else max(1, self.size)
        return Item(
            str(self), lambda: self.place.body(self.path, self.size, largest), far_bytes=far
        )

    def open(self, _mode: str = "rb") -> io.BufferedReader:
        """Open the file for reading, from any byte on.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: the place does not answer, or refuses, or does not say how large the file is.
        """
        try:
            now = self.place.attempted(lambda: self.place.files.stat(self.path))
        except FileGoneError as error:
            raise FileNotFoundError(errno.ENOENT, "it is not there") from error
        if now.size is None:
            raise StorageError(
                f"{self}: the server does not say how large it is (Content-Length). Fetch it first."
            )
        reader = RemoteReader(self.place, self.path, now.size, now.validator)
        return io.BufferedReader(reader, CHUNK_BYTES)


@dataclass(slots=True)
class Places:
    """Gives the files that URLs name. A place is opened once, and what it says of a source is asked for once.

    Args:
        open_files: opens the files of a place.
    """

    open_files: Callable[[StorageUrl], RemoteFiles] = open_remote
    _opened: dict[str, Place] = field(default_factory=dict, init=False)
    _looked_at: dict[str, RemotePath | None] = field(default_factory=dict, init=False)

    def named(self, name: str, *, keeps: bool = True) -> Iterator[tuple[RemotePath, bool]]:
        """Yield the files of a source, and whether it names them, whatever their extension.

        Args:
            name: the URL.
            keeps: whether it may be asked for again; False for one of many that are asked for once.

        Raises:
            ConfigurationError: it is no URL of images, or nothing is there.
            StorageError: the place does not answer, or refuses.
        """
        url = parse_source(name)
        place, path = self._place(url)
        try:
            found = None if not path or name.endswith("/") else self._file(url, keeps=keeps)
            if found is not None:
                yield found, True
            elif glob.has_magic(path) and not url.is_web:
                yield from _matches(place, path, keeps=keeps)
            else:
                yield from _below(place, path, keeps=keeps)
        except FileGoneError as error:
            raise ConfigurationError(f"There is nothing at {url}.") from error

    def listed(self, name: str) -> RemotePath:
        """Return the file that a line of a list names, without looking for it.

        Raises:
            ConfigurationError: it is no URL of a file.
        """
        place, path = self._place(parse_source(name))
        return RemotePath(place, path)

    def _place(self, url: StorageUrl) -> tuple[Place, str]:
        first, _, path = url.path.partition("/")
        root = StorageUrl(url.scheme, first)
        if str(root) not in self._opened:
            self._opened[str(root)] = Place(self.open_files(root))
        return self._opened[str(root)], path

    def _file(self, url: StorageUrl, *, keeps: bool) -> RemotePath | None:
        """Return the file at a URL; None where it is a folder or nothing."""
        if str(url) in self._looked_at:
            return self._looked_at[str(url)]
        place, path = self._place(url)
        found = _file(place, path, is_web=url.is_web)
        if keeps:
            self._looked_at[str(url)] = found
        return found


def _file(place: Place, path: str, *, is_web: bool) -> RemotePath | None:
    """Return the file at a path; None where it is a folder or nothing.

    A web server says of a folder what it says of a file, so there the name decides.
    """
    remote = RemotePath(place, path)
    if is_web and not (
        is_shard(remote) or is_table(remote) or remote.suffix[1:].lower() in EXTENSIONS
    ):
        return None
    try:
        found = place.attempted(lambda: place.files.stat(path))
    except FileGoneError:
        return None
    return None if found.is_folder else RemotePath(place, path, found.size)


def _below(place: Place, folder: str, *, keeps: bool) -> Iterator[tuple[RemotePath, bool]]:
    """Yield the files below a folder; what is hidden is left out."""
    head = f"{folder}/" if folder else ""
    for found in place.files_below(folder, keeps=keeps):
        if not _is_hidden(found.path.removeprefix(head)):
            yield RemotePath(place, found.path, found.size), False


def _matches(place: Place, pattern: str, *, keeps: bool) -> Iterator[tuple[RemotePath, bool]]:
    """Yield the files that match a pattern, and those below folders that do."""
    parts = pattern.split("/")
    magic = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    shows_hidden = any(part.startswith(".") for part in parts[magic:])
    folder = "/".join(parts[:magic])
    head = f"{folder}/" if folder else ""
    try:
        matches = pattern_regex(parts[magic:]).fullmatch
    except re.error as error:
        raise ConfigurationError(f"{pattern!r} is no pattern of files: {error}.") from error
    begin = re.split(r"[*?\[]", parts[magic], maxsplit=1)[0]
    for found in place.files_below(folder, begin, keeps=keeps):
        path = found.path.removeprefix(head)
        if not shows_hidden and _is_hidden(path):
            continue
        if (match := matches(path)) is not None:
            yield RemotePath(place, found.path, found.size), not match["below"]


def _is_hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path
