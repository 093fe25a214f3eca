"""`/openapi.json`: the document is written once. Writing it for each request takes as long as a small network."""

import functools
import hashlib
import json

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response


def serve_document(app: FastAPI) -> None:
    """Add the document to an app whose routes are complete when it is first asked for."""

    @functools.cache
    def written() -> tuple[bytes, dict[str, str]]:
        text = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
        content = text.encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return content, {"ETag": etag, "Cache-Control": "no-cache"}

    async def show(request: Request) -> Response:
        content, headers = written()
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    app.add_route("/openapi.json", show, include_in_schema=False)
