"""Images in a tar file, one after the other, as WebDataset names them: a key, a dot, an extension."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tarfile import (
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
from typing import IO, Any, Self

from service.bulk.item import (
    Body,
    Item,
    item_of_body,
    item_of_fault,
    name_of,
    reason_of,
    sized,
    too_large,
)
from service.errors import UnreadableSourceError

SHARDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
EXTENSIONS = frozenset({"jpg", "jpeg", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "avif"})
"""Of files that are images; in a folder and in a shard all others are left out."""
MOST_COMPANIONS = 16
"""Images with a double extension, as `seg.png`, that are held until it is known whether their sample has a plain one."""

_DAMAGED = (TarError, EOFError, zlib.error, lzma.LZMAError)


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


def is_shard(path: Path) -> bool:
    return path.name.lower().endswith(SHARDS)


def images_in_shard(path: Path, largest: int, skipped: Callable[[], None]) -> Iterator[Item]:
    """Yield the images of a tar file in the order of its members; a damaged one ends with an item that says so.

    Args:
        path: of the tar file; it may be compressed.
        largest: bytes that an image may have.
        skipped: called for each member that is no image.
    """
    companions: list[Item] = []
    key, has_plain = "", False
    shard = name_of(path)
    try:
        for member_key, extension, name, body in _members(path, largest):
            if member_key != key:
                yield from companions
                companions, key, has_plain = [], member_key, False
            if not extension.rpartition(".")[2] in EXTENSIONS:
                skipped()
                continue
            item = item_of_body(f"{shard}/{name}", body)
            if extension in EXTENSIONS:
                has_plain = True
                for _ in companions:
                    skipped()
                companions.clear()
                yield item
            elif has_plain:
                skipped()
            elif len(companions) < MOST_COMPANIONS:
                companions.append(item)
            else:
                yield item
        yield from companions
    except _DAMAGED as error:
        yield from companions
        yield item_of_fault(
            shard, f"The tar file is damaged or cut: {error}. Its images before that have their rows."
        )
    except OSError as error:
        yield from companions
        yield item_of_fault(shard, f"The tar file can not be read: {reason_of(error)}.")


def count_in_shard(path: Path) -> int | None:
    """Return how many images a tar file has about, by its headers; None where it is compressed or damaged."""
    if not path.name.lower().endswith(".tar"):
        return None
    try:
        with ExitStack() as stack:
            archive = _opened(path, stack)
            return sum(
                member.isreg() and _parts(member.name)[1].rpartition(".")[2] in EXTENSIONS
                for member in _headers(archive)
            )
    except (*_DAMAGED, OSError):
        return None


def _members(path: Path, largest: int) -> Iterator[tuple[str, str, str, Body]]:
    """Yield key, extension, name and bytes of each visible file; only the bytes of images are read."""
    with ExitStack() as stack:
        archive = _opened(path, stack)
        for member in _headers(archive):
            key, extension = _parts(member.name)
            if member.isdir() or key.rpartition("/")[2].startswith(".") or key.endswith("/"):
                continue
            body: Body = b""
            if extension.rpartition(".")[2] in EXTENSIONS:
                body = _body(archive, member, largest)
            yield key, extension, name_of(member.name), body


def _body(archive: TarFile, member: TarInfo, largest: int) -> Body:
    if not member.isreg():
        return UnreadableSourceError("The member of the tar file is no regular file.")
    if member.size > largest:
        return too_large(member.size, largest)
    file = archive.extractfile(member)
    assert file is not None  # a regular file
    with closing(file):
        return sized(file.read(), largest)


def _opened(path: Path, stack: ExitStack) -> TarFile:
    name = path.name.lower()
    raw: IO[bytes] = stack.enter_context(path.open("rb"))
    file: Any = raw
    if name.endswith("gz"):
        file = stack.enter_context(gzip.GzipFile(fileobj=raw))
    elif name.endswith("bz2"):
        file = stack.enter_context(bz2.BZ2File(raw))
    elif name.endswith("xz"):
        file = stack.enter_context(lzma.LZMAFile(raw))
    return stack.enter_context(open_tar(fileobj=file, mode="r:", tarinfo=_StrictHeader))


def _headers(archive: TarFile) -> Iterator[TarInfo]:
    """Yield the headers without keeping them: those of a million members would take a gigabyte."""
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]


def _parts(name: str) -> tuple[str, str]:
    """Return a member's key, with its folders, and its extension: all behind the first dot of its file name."""
    folder, slash, file = name.rpartition("/")
    dotted = file.removeprefix(".")  # of a hidden file
    stem, _, extension = dotted.partition(".")
    return folder + slash + file[: len(file) - len(dotted)] + stem, extension.lower()
