"""Object stores list all files below a prefix in pages, in the order of their names: here one page at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar

from service.errors import StorageError
from service.storage.file_system import RemoteFile, RemoteFiles

T = TypeVar("T")

DEEPEST = 50
"""Folders within folders that are followed; a server that makes up pages of links could go on forever."""

Page = tuple[list[tuple[str, int]], str]
"""Keys with sizes in bytes, and the token of the next page; empty where there is none."""
PageOf = Callable[[Any, str, str, str], Page]
"""Asks a file system for the page of a bucket's files with a prefix that a token stands for."""


class Attempted(Protocol):
    """Calls a function, and returns what that returns."""

    def __call__(self, function: Callable[[], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file by its path in a place, and its size in bytes; None where the place does not say."""

    path: str
    size: int | None


Entry = str | list[FoundFile]
"""The path of a folder, or files."""


def pages_below(
    files: RemoteFiles, folder: str, begin: str, attempted: Attempted
) -> Iterator[list[FoundFile]]:
    """Yield the files below a folder, a page or a folder's at once, in an order that is the same each time.

    Args:
        files: the place; of an object store it is a whole bucket.
        folder: in it; empty for all of it.
        begin: how the paths below the folder begin; files with another beginning may come too.
        attempted: makes each call of the place; it may make one again.

    Raises:
        FileGoneError: there is no such folder or bucket; an object store has any folder in a bucket.
        StorageError: the place does not answer, or refuses.
    """
    page_of = PAGES.get(files.url.scheme)
    if page_of is None:
        yield from _walked(files, folder, attempted)
        return
    prefix = f"{folder}/{begin}" if folder else begin
    found, token = attempted(partial(_page, files, page_of, prefix, ""))
    yield found
    while token:
        found, token = attempted(partial(_page, files, page_of, prefix, token))
        yield found


def _page(
    files: RemoteFiles, page_of: PageOf, prefix: str, token: str
) -> tuple[list[FoundFile], str]:
    """Return the files of a page, without the markers of empty folders, and the token of the next one."""
    listed, following = files.ask(
        f"list {prefix or 'the bucket'}", lambda fs: page_of(fs, files.url.path, prefix, token)
    )
    return [FoundFile(*one) for one in listed if not one[0].endswith("/")], following


def _walked(files: RemoteFiles, folder: str, attempted: Attempted) -> Iterator[list[FoundFile]]:
    """Yield files in the order of their paths: those between two subfolders together."""
    stack: list[Iterator[Entry]] = [iter([folder])]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif not isinstance(entry, str):
            yield entry
        elif len(stack) > DEEPEST:
            raise StorageError(
                f"{files.url}/{entry} has more than {DEEPEST} folders within folders."
            )
        else:
            stack.append(_entries(attempted(partial(files.children, entry)), entry))


def _entries(children: list[RemoteFile], folder: str) -> Iterator[Entry]:
    head = f"{folder}/" if folder else ""
    children.sort(key=lambda one: one.name)
    for is_folder, group in groupby(children, lambda one: one.is_folder):
        if is_folder:
            yield from (head + one.name for one in group)
        else:
            yield [FoundFile(head + one.name, one.size) for one in group]


def _page_of_s3(fs: Any, bucket: str, prefix: str, token: str) -> Page:  # noqa: ANN401  # fsspec has no types
    more = {"ContinuationToken": token} if token else {}
    found = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
    following = found.get("NextContinuationToken", "")
    # boto takes any XML for a page without files, and so would we for the end of the list.
    if "IsTruncated" not in found:
        raise OSError("it answered with something else than a page of files")
    if found["IsTruncated"] and following in {"", token}:
        raise OSError(
            "it has more files than are on the page, and does not say where they are (ListObjectsV2)"
        )
    listed = [(one["Key"], int(one["Size"])) for one in found.get("Contents", ())]
    return listed, following if found["IsTruncated"] else ""


def _page_of_gs(fs: Any, bucket: str, prefix: str, token: str) -> Page:  # noqa: ANN401
    more = {"pageToken": token} if token else {}
    found = fs.call("GET", "b/{}/o", bucket, prefix=prefix, json_out=True, **more)
    listed = [(one["name"], int(one["size"])) for one in found.get("items", ())]
    return listed, found.get("nextPageToken", "")


PAGES: dict[str, PageOf] = {"s3": _page_of_s3, "gs": _page_of_gs}
"""By scheme, what asks an object store for a page. All others are listed folder by folder."""
