"""Which pages of other sites may read answers (CORS): none, unless the operator lists them."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS = ("GET", "HEAD", "POST")
_REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Inference-Header-Content-Length",
    "Traceparent",
    "Tracestate",
    "X-API-Key",
    "X-Request-ID",
    "X-Timeout-Ms",
)
_RESPONSE_HEADERS = (
    "Cache-Status",
    "Inference-Header-Content-Length",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "Traceresponse",
    "X-Request-ID",
    "X-Shape",
)


def cors_guard(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return the app behind Starlette's CORS; cookies are not allowed, because the service uses none."""
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
    )
