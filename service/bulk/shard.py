"""Images in a tar file, one after the other, as WebDataset names them: a key, a dot, an extension."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from posixpath import normpath
from tarfile import (  # type: ignore[attr-defined]  # typeshed lacks three of them
    EmptyHeaderError,
    EOFHeaderError,
    HeaderError,
    ReadError,
    TarError,
    TarFile,
    TarInfo,
    TruncatedHeaderError,
)
from tarfile import open as open_tar
from typing import IO, Any, Literal, Self

from service.bulk.item import (
    Body,
    Done,
    Item,
    SourceFile,
    item_of_body,
    item_of_fault,
    name_of,
    nothing_done,
    reason_of,
    sized,
    too_large,
)
from service.bulk.shard_way import Way, beginning
from service.errors import UnreadableSourceError
from service.labeled.image_files import SUFFIXES

SHARDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
EXTENSIONS = frozenset(suffix[1:] for suffix in SUFFIXES)
"""Of files that are images; in a folder and in a shard all others are left out."""
BLOCK_BYTES = 1 << 20
MOST_COMPANIONS = 16
"""Images with a double extension, as `seg.png`, that are held until all of their sample is known."""

DECOMPRESSORS: dict[str, Callable[[Any], BufferedIOBase]] = {
    "gz": lambda raw: gzip.GzipFile(fileobj=raw),
    "tgz": lambda raw: gzip.GzipFile(fileobj=raw),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
"""By the end of a file's name."""

DAMAGED = (TarError, EOFError, zlib.error, lzma.LZMAError)


class _StrictHeader(TarInfo):
    """A member's header. `tarfile` takes a header that is cut or damaged for the end of the file, and says nothing."""

    @classmethod
    def fromtarfile(cls, tarfile: TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:  # the mark at the end of a whole file
            raise
        except HeaderError as error:
            cut = isinstance(error, EmptyHeaderError | TruncatedHeaderError)
            raise ReadError("unexpected end of data" if cut else str(error)) from error


def is_compressed(path: SourceFile) -> bool:
    return path.name.lower().rpartition(".")[2] in DECOMPRESSORS


def is_shard(path: SourceFile) -> bool:
    return path.name.lower().endswith(SHARDS)


def images_in_shard(
    path: SourceFile,
    largest: int,
    skipped: Callable[[], None],
    done: Done = nothing_done,
    way: Way | None = None,
) -> Iterator[Item]:
    """Yield the images of a tar file in the order of its members; a damaged one ends with an item that says so.

    Args:
        path: of the tar file; it may be compressed.
        largest: bytes that an image may have.
        skipped: called for each member that is no image.
        done: which images are left out; their bytes are not read where the file can be read from any byte on.
        way: how far an earlier run came, and what notes how far this one comes; None: neither.
    """
    shard = name_of(path)
    way = way or Way(None, beginning(shard))
    done, skipped = way.asking(done), way.skipping(skipped)
    if way.is_at_end:
        return
    sample = _Sample("", skipped)
    fault = ""
    try:
        for key, extension, name, at, read in _members(path, largest, way.begin):
            if key != sample.key:
                yield from _undone(sample.companions, done)
                sample = _Sample(key, skipped)
                way.come_to(at)
            kind = sample.kind(extension)
            if kind == "image" and not done(f"{shard}/{name}"):
                yield item_of_body(f"{shard}/{name}", read())
            elif kind == "companion":  # its turn may come when others have been read
                sample.companions.append(item_of_body(f"{shard}/{name}", read()))
    except DAMAGED as error:
        fault = f"The tar file is damaged or cut: {error}. Its images before that have their rows."
    except OSError as error:
        fault = f"The tar file can not be read: {reason_of(error)}."
    yield from _undone(sample.companions, done)
    if fault and not done(shard):
        yield item_of_fault(shard, fault)
    elif not fault:
        way.end()


def _undone(items: Iterable[Item], done: Done) -> Iterator[Item]:
    return (item for item in items if not done(item.name))


class _Sample:
    """The members with one key. `seg.png` beside `jpg` is no image of its own, but its mask."""

    def __init__(self, key: str, skipped: Callable[[], None]) -> None:
        self.key = key
        self.companions: list[Item] = []
        """Images with a double extension, as long as there is none with a plain one."""
        self._has_plain = False
        self._skipped = skipped

    def kind(self, extension: str) -> Literal["image", "companion", "other"]:
        """Return what a further member is; one with a double extension is a companion as long as that is open."""
        if extension in EXTENSIONS:
            self._has_plain = True
            for _ in self.companions:
                self._skipped()
            self.companions = []
            return "image"
        if extension.rpartition(".")[2] not in EXTENSIONS or self._has_plain:
            self._skipped()
            return "other"
        return "companion" if len(self.companions) < MOST_COMPANIONS else "image"


def count_in_shard(path: Path) -> int | None:
    """Return how many images a tar file has about, by its headers; None where it is compressed or damaged."""
    if is_compressed(path):
        return None
    try:
        with ExitStack() as stack:
            archive = opened(path, stack)
            return sum(
                _is_file(member) and parts_of(member.name)[1].rpartition(".")[2] in EXTENSIONS
                for member in headers(archive)
            )
    except (*DAMAGED, OSError):
        return None


def _members(
    path: SourceFile, largest: int, begin: int
) -> Iterator[tuple[str, str, str, int | None, Callable[[], Body]]]:
    """Yield key, extension and name of each visible file, where it begins, and what reads it before the next comes.

    It begins nowhere where members before it say something of it, so that it can not be read without them.
    """
    with ExitStack() as stack:
        archive = opened(path, stack, begin)
        links = Links(path, stack)
        for member in headers(archive):
            key, extension = parts_of(member.name)
            if member.isdir() or key.rpartition("/")[2].startswith(".") or key.endswith("/"):
                continue
            name = name_of(member.name).removeprefix("./")
            at = None if archive.pax_headers else member.offset
            yield key, extension, name, at, partial(_body, archive, member, links, largest)


def _body(archive: TarFile, member: TarInfo, links: "Links", largest: int) -> Body:
    if member.islnk():
        archive, found = links.target(member)
        if found.islnk():
            return UnreadableSourceError(
                f"This is a hard link to {name_of(found.linkname)!r}, and no such file is before it."
            )
        member = found
    if not member.isreg():
        return UnreadableSourceError("The member of the tar file is no regular file.")
    if member.size > largest:
        return too_large(member.size, largest)
    file = archive.extractfile(member)
    assert file is not None  # a regular file
    with closing(file):
        return sized(file.read(), largest)


class Links:
    """The files of a tar file to which its hard links lead: a file that a folder has twice is packed once.

    The tar file is opened once more, and its headers are read twice, when the first link is asked for. Links in the
    order of their files, as tar writes them, are read in one pass.

    Args:
        path: of the tar file.
        stack: closes what is opened.
    """

    def __init__(self, path: SourceFile, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._archive: TarFile | None = None
        self._targets: dict[str, list[TarInfo]] = {}

    def target(self, member: TarInfo) -> tuple[TarFile, TarInfo]:
        """Return what reads the file of a hard link, and that file; a link whose file is not before it is returned.

        A hard link may name another one, whose file it then has.

        Raises:
            OSError: the tar file can not be read.
        """
        if self._archive is None:
            self._archive = self._find()
        while member.islnk():  # each is before the one that names it, so this ends
            named = self._targets.get(normpath(member.linkname), ())
            before = [one for one in named if one.offset < member.offset]
            if not before:
                break
            member = before[-1]
        return self._archive, member

    def _find(self) -> TarFile:
        wanted: set[str] = set()
        archive = opened(self._path, self._stack)
        with suppress(*DAMAGED), ExitStack() as stack:  # what is before the damage counts
            for member in headers(opened(self._path, stack)):
                if member.islnk():
                    wanted.add(normpath(member.linkname))
        with suppress(*DAMAGED):
            for member in headers(archive):
                if not member.isdir() and (name := normpath(member.name)) in wanted:
                    self._targets.setdefault(name, []).append(member)
        return archive


def _is_file(member: TarInfo) -> bool:
    return member.isreg() or member.islnk()


def opened(path: SourceFile, stack: ExitStack, begin: int = 0) -> TarFile:
    """Open a tar file; `begin` is the byte of the member that comes first, for one that is not compressed."""
    file: IO[bytes] | BufferedIOBase = stack.enter_context(path.open("rb"))
    file.seek(begin)
    ending = path.name.lower().rpartition(".")[2]
    if ending in DECOMPRESSORS:
        file = stack.enter_context(closing(DECOMPRESSORS[ending](file)))
    return stack.enter_context(open_tar(fileobj=file, mode="r:", tarinfo=_StrictHeader))


def headers(archive: TarFile) -> Iterator[TarInfo]:
    """Yield the headers without keeping them: those of a million members would take a gigabyte.

    Raises:
        ReadError: there is more behind the mark of the end, which no reader of tar files looks at.
    """
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]
    file = archive.fileobj
    assert file is not None  # it is open, and stands behind the mark
    while block := file.read(BLOCK_BYTES):
        if block.strip(b"\0"):
            raise ReadError(
                "there is more behind its end, as where tar files were joined without tar --concatenate"
            )


def parts_of(name: str) -> tuple[str, str]:
    """Return a member's key, with its folders, and its extension: all behind the first dot of its file name."""
    folder, slash, file = name.rpartition("/")
    dotted = file.removeprefix(".")  # of a hidden file
    stem, _, extension = dotted.partition(".")
    return folder + slash + file[: len(file) - len(dotted)] + stem, extension.lower()
