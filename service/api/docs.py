"""`/docs`: Swagger UI, from files that are installed with the service, so that it works where there is no internet."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from service.api.static_folder import StaticFolder

ASSETS_PACKAGE = "fastapi_standalone_docs"
"""Its Swagger UI files are served; its code, which changes FastAPI for the whole process, is not run."""
ASSETS = "docs/assets"
"""Relative, so that it also holds behind a proxy that adds a prefix."""


def serve_docs(app: FastAPI) -> None:
    """Add the page and the files that it needs to an app that has no docs of its own."""
    swagger = str(files(ASSETS_PACKAGE) / "static" / "swagger")
    app.mount(f"/{ASSETS}", StaticFolder(directory=swagger))

    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{app.title} API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"defaultModelsExpandDepth": -1, "tryItOutEnabled": True},
    )
    # FastAPI names no language, so that a screen reader would read the page in that of its user.
    html = bytes(page.body).decode().replace("<html>", '<html lang="en">')
    page = HTMLResponse(html)
    page.headers["Content-Security-Policy"] = _policy(html)
    page.headers["Referrer-Policy"] = "no-referrer"

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return page


def _policy(html: str) -> str:
    """Return what the page may do: run its own script and this host's, and ask nothing of any other host."""
    return "; ".join([
        "default-src 'none'",
        f"script-src 'self' {script_digests(html)}",
        # Swagger UI writes style attributes.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])  # fmt: skip


def script_digests(html: str) -> str:
    """Return the digests of a page's own scripts, as a policy names them."""
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in scripts)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
