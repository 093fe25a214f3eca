"""What a video is read from."""

from typing import Protocol


class Source(Protocol):
    """A seekable binary file, or an object that reads like one."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...
