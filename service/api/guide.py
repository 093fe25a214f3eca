"""`/docs/guide/`: the documentation as `make docs` has built it, so that it can be read where there is no internet."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.types import Scope

from service.api.docs import script_digests
from service.api.static_folder import FileContent, StaticFolder
from service.errors import NotFoundError, told_shortages

GUIDE = "docs/guide"
HOME = "index.html"


def serve_guide(app: FastAPI, folder: Path) -> None:
    """Serve the site in a folder; where none was built, the answer says how to build it."""
    if not has_guide(folder):

        @app.get(f"/{GUIDE}", include_in_schema=False)
        @app.get(f"/{GUIDE}/{{path:path}}", include_in_schema=False)
        async def say_how() -> Response:
            raise NotFoundError(
                "The guide is not built here. `make docs` builds it in build/site, and FOVEAL_GUIDE names "
                "another folder of it."
            )

        return

    # Links on the pages are relative, so the address of the first page must end with a slash.
    @app.get(f"/{GUIDE}", include_in_schema=False)
    async def go_home() -> RedirectResponse:
        return RedirectResponse("guide/")

    app.mount(f"/{GUIDE}", Site(directory=folder))


def has_guide(folder: Path) -> bool:
    return (folder / HOME).is_file()


def digests_of(page: Path) -> str:
    """Return the digests of a page's own scripts; blocking."""
    return script_digests(page.read_text(encoding="utf-8", errors="replace"))


class Site(StaticFolder):
    """A folder of pages; each may run its own scripts and this host's, and nothing of another host.

    The digests of a page's scripts are kept as long as its file is the same.

    Args:
        directory: the folder.
        digest: returns the digests of a page's scripts; blocking, called on a thread.
    """

    def __init__(self, directory: Path, digest: Callable[[Path], str] = digests_of) -> None:
        super().__init__(directory=directory)
        self._digest = digest
        self._kept: dict[Path, tuple[object, str]] = {}

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(HOME if path == "." else path, scope)
        response.headers["Cache-Control"] = "no-cache"
        if isinstance(response, FileContent) and response.file.suffix == ".html":
            with told_shortages():
                digests = await self._digests_of(response.file, response.state)
            response.headers["Content-Security-Policy"] = _policy(digests)
            response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _digests_of(self, page: Path, state: os.stat_result | None) -> str:
        file = None if state is None else (state.st_ino, state.st_mtime_ns, state.st_size)
        kept, digests = self._kept.get(page, (None, ""))
        if file is None or kept != file:
            digests = await asyncio.to_thread(self._digest, page)
            self._kept[page] = file, digests
        return digests


def _policy(digests: str) -> str:
    return "; ".join([
        "default-src 'none'",
        f"script-src 'self' {digests}",
        # The theme writes style attributes, and its search runs in a worker.
        "style-src 'self' 'unsafe-inline'",
        "worker-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])  # fmt: skip
