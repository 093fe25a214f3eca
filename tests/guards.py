"""A guard for tests, and every request that a guard has to see."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import FovealError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
Seen = tuple[str, str]
"""A method and a path."""


@dataclass
class Guard:
    """Writes down every request that reaches it; refuses all of them where it has an error."""

    error: FovealError | None = None
    seen: list[Seen] = field(default_factory=list)

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def guard(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.seen.append((scope["method"], scope["path"]))
                if self.error is not None:
                    raise self.error
            await app(scope, receive, send)

        return guard


def requests_to(app: FastAPI) -> Iterator[Seen]:
    """Yield every method with every path of the app: routes, a file of every mount, and paths that do not exist."""
    documented = set(app.openapi()["paths"])
    routed = {route.path for route in app.routes if isinstance(route, Route | Mount)}
    strange = {
        "/",
        "/nothing",
        "/v1/nothing",
        "/v1/classify/",
        "//v1/classify",
        "/playground/main.js",
    }
    mounted = {f"{route.path}/swagger-ui.css" for route in app.routes if isinstance(route, Mount)}
    for path in sorted(documented | routed | strange | mounted):
        for method in METHODS:
            yield method, path.replace("{", "").replace("}", "")
