"""Which pages of other sites may read answers (CORS): none, unless the operator lists them."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.guards.refusal import refuse
from service.errors import RefusedPreflightError

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
    return _Cors(
        app,
        allow_origins=list(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
    )


class _Cors(CORSMiddleware):
    """Starlette's CORS, whose refusals have our form."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a browser that asks whether a page may send a request."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == HTTPStatus.OK else _Refusal(response)


class _Refusal(Response):
    """The problem in the place of Starlette's plain text, with the same headers.

    Args:
        plain: Starlette's.
    """

    def __init__(self, plain: Response) -> None:
        super().__init__(status_code=plain.status_code)
        refused = bytes(plain.body).decode().removeprefix("Disallowed CORS ")
        self._error = RefusedPreflightError(
            f"A page of another site may not send this request (refused: {refused}). The operator of the service lists "
            "the sites that may in FOVEAL_CORS_ORIGINS."
        )
        self._fields = [
            one for one in plain.raw_headers if one[0] not in {b"content-type", b"content-length"}
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(self._error, scope, receive, send, self._fields)
