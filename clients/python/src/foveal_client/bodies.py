"""The body of a request: an image as its bytes, the file of a video as it is read."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

from foveal_client.types import Image, Video

PIECE_BYTES = 256 * 1024
"""How much of a file is in memory at once."""


@dataclass(frozen=True, slots=True)
class FileBody:
    """A regular file, of which as many bytes are sent as it has now."""

    path: Path
    size: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Length": str(self.size)}

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield the file in pieces; each call reads it anew."""
        rest = self.size
        with self.path.open("rb") as file:
            while piece := file.read(min(rest, PIECE_BYTES)):
                rest -= len(piece)
                yield piece

    async def pieces_later(self) -> AsyncGenerator[bytes, None]:
        """Yield the file in pieces that are read in a thread."""
        rest = self.size
        with await asyncio.to_thread(self.path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, min(rest, PIECE_BYTES)):
                rest -= len(piece)
                yield piece


def load(file: Image | Video | None, *, streamed: bool) -> bytes | FileBody | None:
    """Return what is sent of an image or a video.

    Args:
        file: its bytes, or the path of its file.
        streamed: whether a file is sent as it is read. One that can not be read twice, such as a pipe, is not.
    """
    if file is None or isinstance(file, bytes):
        return file
    path = Path(file)
    if streamed and path.is_file():
        return FileBody(path, path.stat().st_size)
    return path.read_bytes()
