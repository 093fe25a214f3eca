"""What the command line names (files, folders, patterns, lists) → images, one after the other."""

import glob
import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from service.bulk.item import (
    Done,
    Item,
    SourceFile,
    item_of_fault,
    item_of_file,
    name_of,
    nothing_done,
    reason_of,
)
from service.bulk.passages import Passages
from service.bulk.remote import Places, RemotePath
from service.bulk.shard import (
    EXTENSIONS,
    SHARDS,
    count_in_shard,
    images_in_shard,
    is_compressed,
    is_shard,
)
from service.bulk.shard_way import Way, beginning
from service.bulk.table import count_in_table, images_in_table, is_table
from service.errors import ConfigurationError, StorageError
from service.labeled.files_below import Unreadable, files_below, paths_below
from service.storage.url import is_url

STDIN = "-"
MOST_SHOWN = 200
"""Characters of a name in a message."""
ARCHIVES = (
    ".tar.zst",
    ".tar.zstd",
    ".tzst",
    ".tar.lz4",
    ".tar.lzma",
    ".tar.br",
    ".zip",
    ".7z",
    ".rar",
)
"""What may be taken for a source of images, and is none."""


@dataclass(slots=True)
class _Asked:
    """Says of an image whether it is done, counts the images, and notes that nobody can say it."""

    done: Done
    count: int = 0
    failed: bool = False

    def __call__(self, image: str) -> bool:
        self.count += 1
        try:
            return self.done(image)
        except ConfigurationError:
            self.failed = True
            raise


@dataclass(slots=True)
class Sources:
    """The images that sources name: files, folders, glob patterns, URLs of them, and `-` for a list of paths.

    Args:
        names: the sources, in the order in which their images come.
        largest: bytes that an image may have.
        listed: where the list of paths is read from, as they come: `read` returns what is there.
        separator: what ends a path in the list: a line end, or a zero byte.
        column: of Parquet files, the one with the images; None: found.
        left_out: files that no folder has as sources, such as the results.
        places: opens the files that are elsewhere, which URLs name.
        passages: how far an earlier run came in tar shards; None: they are read from their start.
    """

    names: Sequence[str]
    largest: int
    listed: BinaryIO
    separator: bytes = b"\n"
    column: str | None = None
    left_out: frozenset[Path] = frozenset()
    places: Places = field(default_factory=Places)
    passages: Passages | None = None
    others: int = field(default=0, init=False)
    """How many files were left out because they are no images."""
    _passed: int = field(default=0, init=False)
    """How many images of shards were not asked for, because an earlier run has passed them."""

    def images(self, done: Done = nothing_done) -> Iterator[Item]:
        """Yield all images but those that are done. Each source begins when the one before has ended.

        Args:
            done: which images are left out.

        Raises:
            ConfigurationError: a source is not there or has no image; or it is a table that can not be read.
        """
        for name in self.names:
            others, passed, asked = self.others, self._passed, _Asked(done)
            yield from self._images_of(name, asked)
            if not asked.count and self._passed == passed:
                raise self._empty(name, self.others - others)

    def check(self) -> None:
        """Look for the first image of each source, but of a list, which is read once. One elsewhere is read.

        Raises:
            ConfigurationError: a source is not there or has no image.
            StorageError: a place elsewhere does not answer, or refuses.
        """
        if self.names.count(STDIN) > 1:
            raise ConfigurationError(
                "The list of paths, -, is among the sources twice. Give it once."
            )
        for name in self.names:
            self.others = 0
            if name == STDIN:
                continue
            first = next(self._images_of(name, nothing_done), None)
            if first is None:
                raise self._empty(name, self.others)
            if first.far_bytes:  # a place may list what it does not give
                first.read()
        self.others = 0

    def count(self) -> int | None:
        """Return about how many images there are; None where that is known only after they were read."""
        total = 0
        for name in self.names:
            if name == STDIN:
                return None
            if not is_url(name) and Path(name).is_dir():
                paths: Iterator[SourceFile | str | Unreadable] = paths_below(name)
            else:
                paths = (path for path, _ in self._paths_of(name))
            for path in paths:
                counted = self._count(path)
                if counted is None:
                    return None
                total += counted
        return total

    def containers(self) -> Iterator[SourceFile]:
        """Yield the tar shards and the tables of all sources.

        Raises:
            ConfigurationError: a source is not there.
        """
        for name in self.names:
            if name != STDIN:
                for path, _ in self._paths_of(name):
                    if not isinstance(path, Unreadable) and (is_shard(path) or is_table(path)):
                        yield path

    def files_of(self, name: str) -> Iterator[str]:
        """Yield the names of the image files of one source.

        Raises:
            ConfigurationError: it is not there.
        """
        for path, _ in self._paths_of(name):
            if not isinstance(path, Unreadable) and path.suffix[1:].lower() in EXTENSIONS:
                yield name_of(path)

    def _images_of(self, name: str, done: Done, *, keeps: bool = True) -> Iterator[Item]:
        if name == STDIN:
            yield from self._listed(done)
            return
        for path, is_named in self._paths_of(name, keeps=keeps):
            if not isinstance(path, Unreadable):
                yield from self._images_at(path, done, is_named=is_named)
            elif not done(name_of(path.path)):
                yield item_of_fault(
                    name_of(path.path), f"The folder can not be listed: {path.reason}."
                )

    def _paths_of(
        self, name: str, *, keeps: bool = True
    ) -> Iterator[tuple[SourceFile | Unreadable, bool]]:
        """Yield the files of a source, and whether it names them, whatever their extension.

        `keeps` is whether a list from elsewhere stays, for the next call.
        """
        path = Path(name)
        if is_url(name):
            yield from self.places.named(name, keeps=keeps)
        elif not name:
            raise ConfigurationError("A source has no name. Write . for the folder you are in.")
        elif is_folder(path):
            yield from ((found, False) for found in files_below(path))
        elif glob.has_magic(name) and not os.path.lexists(path):
            yield from self._matches(name)
        else:
            require_there(path)
            yield path, True

    def _matches(self, pattern: str) -> Iterator[tuple[Path | Unreadable, bool]]:
        """Yield what matches a pattern, each once; `**` does not follow links to folders."""
        parts = Path(pattern).parts
        if parts[-1] == "**":  # files are meant too; which of Python's versions say so, differs
            parts = (*parts, "*")
        magic = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        try:
            matches = sorted(Path(*parts[:magic]).glob(str(Path(*parts[magic:]))))
        except (ValueError, NotImplementedError) as error:
            raise ConfigurationError(f"{pattern!r} is no pattern of files: {error}.") from error
        except OSError as error:
            raise ConfigurationError(
                f"{shortened(pattern)} can not be searched: {reason_of(error)}."
            ) from error
        shows_hidden = any(part.startswith(".") for part in parts[magic:])
        for match in matches:
            if not shows_hidden and any(part.startswith(".") for part in match.parts[magic:]):
                continue
            if not match.is_dir():
                yield match, True
            elif "**" not in parts:
                yield from ((found, False) for found in files_below(match))

    def _listed(self, done: Done) -> Iterator[Item]:
        """Yield the images of the paths in the list; one that is not there is an item of its own."""
        for entry in _entries(self.listed, self.separator):
            path = Path(entry)
            if is_url(entry):
                yield from self._listed_elsewhere(entry, done)
            elif is_folder(path):
                yield from self._images_of(entry, done)
            else:
                yield from self._images_at(path, done, is_named=True)

    def _listed_elsewhere(self, entry: str, done: Done) -> Iterator[Item]:
        asked = _Asked(done)
        try:
            file = self.places.listed(entry)
            if file.suffix[1:].lower() in EXTENSIONS:  # nobody is asked for it before it is read
                if not asked(str(file)):
                    yield file.item(self.largest)
                return
            passed = self._passed
            yield from self._images_of(entry, asked, keeps=False)
            if not asked.count and self._passed == passed:
                raise self._empty(entry, 0)
        except StorageError:
            raise
        except ConfigurationError as error:
            if asked.failed:  # that is no fault of this image
                raise
            if not done(name_of(entry)):
                yield item_of_fault(name_of(entry), str(error))

    def _images_at(self, path: SourceFile, done: Done, *, is_named: bool) -> Iterator[Item]:
        if isinstance(path, Path) and not is_named and path.absolute() in self.left_out:
            return
        if is_shard(path):
            yield from images_in_shard(path, self.largest, self._skip, done, self._way(path))
        elif is_table(path):
            skipped = None if is_named else self._skip
            yield from images_in_table(path, self.largest, self.column, skipped, done)
        elif is_named and path.name.lower().endswith(ARCHIVES):
            name = name_of(path)
            if not done(name):
                yield item_of_fault(
                    name,
                    f"Archives of this kind are not read. Unpack it, or give {', '.join(SHARDS)}.",
                )
        elif is_named or path.suffix[1:].lower() in EXTENSIONS:
            item = _item_of(path, self.largest)
            if not done(item.name):
                yield item
        else:
            self._skip()

    def _way(self, path: SourceFile) -> Way | None:
        """Return where a shard is read from; None where it is from its start, and nobody notes how far."""
        size = size_of(path)
        if self.passages is None or size is None:
            return None
        found = self.passages.earlier(name_of(path), size)
        if found is not None:
            self._passed += found.images
        start = beginning(name_of(path), size)
        return Way(self.passages, found or start, is_sought=not is_compressed(path))

    @staticmethod
    def _count(path: SourceFile | str | Unreadable) -> int | None:
        if isinstance(path, Unreadable):
            return 1
        extension = str(path).rpartition(".")[2].lower()
        if extension in EXTENSIONS:
            return 1
        file = Path(path) if isinstance(path, str) else path
        if is_shard(file):  # of one elsewhere, the headers are not to be had without the rest
            return count_in_shard(file) if isinstance(file, Path) else None
        return count_in_table(file) if is_table(file) else 0

    def _skip(self) -> None:
        self.others += 1

    @staticmethod
    def _empty(name: str, others: int) -> ConfigurationError:
        if name == STDIN:
            return ConfigurationError("The list of paths has no image.")
        beside = f", and {others} other files" if others else ""
        what = "matches no image" if glob.has_magic(name) else "has no image"
        return ConfigurationError(
            f"{name!r} {what}{beside}. Images are files that end in {', '.join(sorted(EXTENSIONS))}; "
            "tar and Parquet files hold some."
        )


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; one that the system refuses, as a name that is too long, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def require_there(path: Path) -> None:
    """Check that there is something at a path.

    Raises:
        ConfigurationError: there is nothing.
    """
    name = shortened(str(path))
    try:
        path.stat()
    except (FileNotFoundError, ValueError) as error:
        link = os.path.islink(path)  # noqa: PTH114  # takes any name
        raise ConfigurationError(
            f"{name} is a link to something that is not there."
            if link
            else f"There is no file or folder {name}."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{name} can not be read: {reason_of(error)}.") from error


def shortened(name: str) -> str:
    """Return a name for a message, the first part of it where it is long."""
    return repr(name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…")


def size_of(path: SourceFile) -> int | None:
    """Return how many bytes a file has; None where that is not known, or it is no regular file."""
    if isinstance(path, RemotePath):
        return path.size
    try:
        return Path(str(path)).stat().st_size or None
    except OSError:
        return None


def _item_of(path: SourceFile, largest: int) -> Item:
    if isinstance(path, RemotePath):
        return path.item(largest)
    assert isinstance(path, Path)  # there is no third kind
    return item_of_file(path, largest)


def _entries(listed: BinaryIO, separator: bytes) -> Iterator[str]:
    """Yield the paths of a list as they come, without the byte order mark that editors put before the first."""
    end = b"\r" if separator == b"\n" else b""
    begin = BOM_UTF8
    for line in _split(listed, separator):
        entry = line.removeprefix(begin).removesuffix(end)
        begin = b""
        if entry:
            yield _decoded(entry)


def _split(listed: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    for block in iter(partial(listed.read, 1 << 16), b""):
        *whole, rest = (rest + block).split(separator)
        yield from whole
    yield rest


def _decoded(entry: bytes) -> str:
    return entry.decode("utf-8", "surrogateescape")
