"""One image of a source: what it is called in the results, and how its bytes are read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Literal, Protocol

from service.errors import BodyTooLargeError, EmptyImageError, FovealError, UnreadableSourceError

Body = bytes | FovealError
"""An encoded image, or why there is none."""


Done = Callable[[str], bool]
"""Whether an image of this name was done before; asked once for each image, in their order."""


def nothing_done(_: str) -> bool:
    """Answer for a run that begins."""
    return False


class SourceFile(Protocol):
    """A file of a source: a `pathlib.Path`, or one that is elsewhere. As text it is what the user sees."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def open(self, mode: Literal["rb"], /) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Item:
    """An image by its name; `read` returns its bytes or its error, and may block.

    `held_bytes` is what the item itself holds in memory already: the bytes of a member of a shard. `far_bytes` is about
    how many come from another machine when it is read; 0 where they lie here. Such images are read side by side.
    """

    name: str
    read: Callable[[], Body]
    held_bytes: int = 0
    far_bytes: int = 0


def item_of_file(path: Path, largest: int) -> Item:
    """Return the image in a file; it is read when it is needed."""
    return Item(name_of(path), lambda: read_file(path, largest))


def item_of_body(name: str, body: Body) -> Item:
    """Return an image whose bytes are there already."""
    return Item(name, lambda: body, len(body) if isinstance(body, bytes) else 0)


def item_of_fault(name: str, reason: str) -> Item:
    """Return what stands for images that can not be reached."""
    return item_of_body(name, UnreadableSourceError(reason))


def name_of(path: SourceFile | str) -> str:
    r"""Return a path as text that JSON has: bytes of a name that are no UTF-8 are written as `\xff`."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def read_file(path: Path, largest: int) -> Body:
    """Return the bytes of a regular file; another kind of file could keep its reader waiting forever.

    Args:
        path: of the file.
        largest: bytes that an image may have.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            state = os.fstat(descriptor)
            if not S_ISREG(state.st_mode):
                return UnreadableSourceError("This is no regular file.")
            if state.st_size > largest:
                return too_large(state.st_size, largest)
            body = file.read()
    except OSError as error:
        return UnreadableSourceError(f"The file can not be read: {reason_of(error)}.")
    except ValueError:
        return UnreadableSourceError("The file can not be read: its name holds a zero byte.")
    return sized(body, largest)


def sized(body: bytes, largest: int) -> Body:
    """Return the bytes, or the error of those that are empty or too many."""
    if not body:
        return EmptyImageError("The image has no bytes.")
    return body if len(body) <= largest else too_large(len(body), largest)


def too_large(size: int, largest: int) -> BodyTooLargeError:
    """Return the error of an image that has too many bytes, as a request with it would get."""
    return BodyTooLargeError(
        f"The image has {size} bytes, more than the {largest} allowed. Set FOVEAL_MAX_BODY_BYTES higher to read it."
    )


def reason_of(error: OSError) -> str:
    """Return what the system says, without the path, which the row names."""
    return error.strerror or str(error)
