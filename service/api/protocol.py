"""What other programs' clients speak: a table of paths in front of the app, behind the guards.

docs/decisions/0019 says why these are no routes of FastAPI.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.deps import Services
from service.api.error_forms import error_response, is_under
from service.api.errors import SHOWN_PATH
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import (
    FovealError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    UnknownVersionError,
)
from service.media_types import JSON
from service.runtime.fleet import LONGEST_VERSION
from service.value import value


@value
class Call:
    """One request, and the parts of its path by name."""

    request: Request
    services: Services
    record: RequestRecord
    parts: Mapping[str, str]

    @property
    def model(self) -> str | None:
        return self.parts.get("model")

    @property
    def version(self) -> int | None:
        """The version that the path names; one that is too long for a version counts as none that exists.

        Raises:
            UnknownVersionError: it begins with 0, as none does.
        """
        text = self.parts.get("version")
        if text is not None and text.startswith("0"):
            raise UnknownVersionError(
                f"{self.model} has no version {text[:LONGEST_VERSION]}: none begins with 0."
            )
        return None if text is None else int(text[: LONGEST_VERSION + 1])


@value
class Endpoint:
    """What answers a path.

    Args:
        method: GET or POST.
        answer: it returns the response.
        sheds: whether the path alone decides which queue a request goes to. Then further requests to it are refused at
            once while that queue is full.
    """

    method: str
    answer: Callable[[Call], Awaitable[Response]]
    sheds: bool = False


@value
class Protocol:
    """A protocol: its name in the settings, and its endpoints by path.

    A path may have `{model}` and `{version}`. Below a prefix there is nothing else: unknown paths are refused in the
    protocol's form.
    """

    name: str
    endpoints: Mapping[str, Endpoint]
    prefixes: tuple[str, ...]


@value
class _Path:
    """A path with places, as the metrics name it, and how it is recognized."""

    path: str
    pattern: "re.Pattern[str]"
    endpoint: Endpoint


class Protocols:
    """Plain ASGI in front of an app: it answers what belongs to a protocol, and passes on everything else."""

    def __init__(self, app: ASGIApp, services: Services, protocols: Sequence[Protocol]) -> None:
        self.app = app
        self._services = services
        self._prefixes = tuple(one for protocol in protocols for one in protocol.prefixes)
        self._paths = tuple(
            _Path(path, _pattern(path), endpoint)
            for protocol in protocols
            for path, endpoint in protocol.endpoints.items()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await found(Request(scope, receive))
        except FovealError as error:
            response = error_response(error, scope)
        await response(scope, receive, send)

    def _find(self, path: str) -> Callable[[Request], Awaitable[Response]] | None:
        for one in self._paths:
            match = one.pattern.fullmatch(path)
            if match is not None:
                return partial(self._answer, one, match.groupdict())
        return _nothing if any(is_under(path, one) for one in self._prefixes) else None

    async def _answer(self, path: _Path, parts: Mapping[str, str], request: Request) -> Response:
        request.scope["route"] = path
        endpoint, record = path.endpoint, request.scope[RECORD_KEY]
        if request.method != endpoint.method:
            return _wrong_method(request, endpoint.method)
        try:
            return await endpoint.answer(Call(request, self._services, record, parts))
        except OverloadedError as error:
            if endpoint.sheds:
                self._services.shedding.note(request.scope, record, error)
            raise


def json_answer(body: object, status: int = 200) -> Response:
    return Response(to_json(body), status, media_type=JSON)


def _pattern(path: str) -> "re.Pattern[str]":
    text = re.escape(path).replace(r"\{model\}", "(?P<model>[^/]+)")
    return re.compile(text.replace(r"\{version\}", "(?P<version>[0-9]+)"))


async def _nothing(request: Request) -> Response:
    path = request.scope["path"][:SHOWN_PATH]
    raise NotFoundError(f"There is nothing at {path}. See docs/clients.md for the paths.")


def _wrong_method(request: Request, method: str) -> Response:
    allowed = "GET, HEAD" if method == "GET" else method
    path = request.scope["path"][:SHOWN_PATH]
    error = MethodNotAllowedError(f"{path} takes {allowed}, not {request.method}.")
    response = error_response(error, request.scope)
    response.headers["Allow"] = allowed
    return response
