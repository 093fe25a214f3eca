"""`/openapi.json`: the document is written once, on a thread. It takes as long as hundreds of small requests."""

import asyncio
import functools
import hashlib
import json
import threading

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response


def serve_document(app: FastAPI) -> None:
    """Add the document to an app whose routes are complete when it is first asked for."""
    writing = threading.Lock()

    @functools.cache
    def write() -> tuple[bytes, dict[str, str]]:
        text = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
        content = text.encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return content, {"ETag": etag, "Cache-Control": "no-cache"}

    def write_once() -> None:
        with writing:
            write()

    async def show(request: Request) -> Response:
        if not write.cache_info().currsize:
            await asyncio.to_thread(write_once)
        content, headers = write()
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    app.add_route("/openapi.json", show, include_in_schema=False)
