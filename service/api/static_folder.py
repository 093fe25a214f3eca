"""Files of a folder under a path, for everyone: no page needs a key, and none is counted in rate limits."""

import asyncio
import os
from functools import lru_cache
from pathlib import Path

from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Scope

from service.errors import told_shortages

LONGEST_PATH = 1024
"""Characters of a file's path. The system is asked about each folder on the way: 62,000 characters took 0.5 s."""
_OF_PARTS = ("accept-ranges",)
"""Headers of answers that may be a part of a file."""
MOST_KEPT = 32
"""Files in memory. Clients that do not read their answers then hold one file together, not one each."""


class FileContent(Response):
    """A whole file that was read before the answer begins: a file that can not be opened is no answer cut short.

    Attributes:
        file: where it is.
        state: what the system says of it.
    """

    def __init__(self, content: bytes, found: FileResponse) -> None:
        super().__init__(content, found.status_code, media_type=found.media_type)
        for name, value in found.headers.items():
            if name not in _OF_PARTS:
                self.headers[name] = value
        self.headers["content-length"] = str(len(content))
        self.file = Path(found.path)
        self.state = found.stat_result


class StaticFolder(StaticFiles):
    """A folder whose files have short paths and fit into memory; each is answered as a whole."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return the file of a path and what the system says of it, None where there is none."""
        return ("", None) if len(path) > LONGEST_PATH else super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the answer for a path.

        Raises:
            HTTPException: there is no such file.
            UnavailableError: it can not be opened now.
        """
        with told_shortages():
            found = await super().get_response(path, scope)
            if not isinstance(found, FileResponse):
                return found
            assert found.stat_result is not None  # `StaticFiles` has asked for it
            state = (found.stat_result.st_mtime_ns, found.stat_result.st_size)
            try:
                content = await asyncio.to_thread(_content, Path(found.path), state)
            except (FileNotFoundError, IsADirectoryError):  # it was replaced in between
                raise HTTPException(404) from None
        return FileContent(content, found)


@lru_cache(MOST_KEPT)
def _content(path: Path, _state: tuple[int, int]) -> bytes:
    return path.read_bytes()
