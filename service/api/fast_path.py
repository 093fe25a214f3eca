"""The tasks' routes, answered ahead of FastAPI's router: the same endpoints, without its dependency solving.

FastAPI has the routes too, for the OpenAPI document and for what is not a POST. A network like LeNet-5 takes
less time than a router does.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.deps import RECORD_KEY, RequestRecord, Services
from service.api.errors import invalid_parameters, problem
from service.api.schemas import Options
from service.errors import FovealError

Endpoint = Callable[[Request, Services, RequestRecord, Any], Awaitable[Response]]
KNOWN_QUERIES = 512
"""How many query strings are remembered with what they mean; clients send the same few."""


@dataclass(frozen=True, slots=True)
class TaskRoute:
    """One task's endpoint, and the type of what its query may ask."""

    path: str
    endpoint: Endpoint
    options: type[Options]


class FastPath:
    """Plain ASGI in front of an app; every other request passes through."""

    def __init__(self, app: ASGIApp, services: Services, routes: Sequence[TaskRoute]) -> None:
        self.app = app
        self._services = services
        self._routes = {route.path: route for route in routes}
        self._read_query = lru_cache(KNOWN_QUERIES)(read_query)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope.get("path", ""))
        if route is None or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        record: RequestRecord = scope[RECORD_KEY]
        try:
            options = self._read_query(route.options, scope["query_string"])
            response = await route.endpoint(
                Request(scope, receive), self._services, record, options
            )
        except FovealError as error:
            record.error_code = error.code
            response = problem(error, record.request_id)
        await response(scope, receive, send)


def read_query(options: type[Options], query: bytes) -> Options:
    """Return the options that a query string asks for.

    Raises:
        InvalidParameterError: a parameter is unknown or out of range; each is named.
    """
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        field = options.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    try:
        return options.model_validate(given)
    except ValidationError as error:
        raise invalid_parameters(error.errors()) from error
