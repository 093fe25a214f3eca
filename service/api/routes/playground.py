"""`GET /`: the playground, a page of plain files that come with the service and ask nothing of any other address."""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).parents[2] / "playground"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".webmanifest": "application/manifest+json",
}

POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "media-src blob:",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # No string ever becomes markup or script: a browser refuses the assignment itself.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
])  # fmt: skip

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
}
"""`no-cache` lets a browser keep a file and ask each time whether it is still the one: a new release shows at once."""


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes = field(repr=False)
    media_type: str
    etag: str


LINK = b'<a href="docs/guide/">Guide</a>'
"""To the documentation; it is left out where the service has none."""


def playground_router(folder: Path = FOLDER, *, guide: bool = False) -> APIRouter:
    """Return the routes of the page and its files, all read now: what is not there is a 404 of the app's own."""
    router = APIRouter(include_in_schema=False)
    for path in sorted(file for file in folder.rglob("*") if file.suffix in MEDIA_TYPES):
        name = path.relative_to(folder).as_posix()
        route = "/" if name == "index.html" else f"/playground/{name}"
        content = path.read_bytes() if guide else path.read_bytes().replace(LINK, b"")
        router.add_api_route(route, _answer(_file(path, content)), methods=["GET", "HEAD"])
    return router


def _file(path: Path, content: bytes) -> PageFile:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return PageFile(content, MEDIA_TYPES[path.suffix], etag)


def _answer(file: PageFile) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    headers = {**HEADERS, "ETag": file.etag}

    async def answer(request: Request) -> Response:
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return answer
