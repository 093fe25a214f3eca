"""The tasks' routes, answered ahead of FastAPI's router: the same endpoints, without its dependency solving.

FastAPI has the routes too, for the OpenAPI document and for what is not a POST. A network like LeNet-5 takes
less time than a router does.
"""

from collections.abc import Sequence

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.deps import Services
from service.api.error_forms import error_response
from service.api.errors import problem
from service.api.queries import QueryReader, require_few_parameters
from service.api.record import RECORD_KEY, RequestRecord
from service.api.routes.task import TaskRoute
from service.errors import FovealError, OverloadedError


class FastPath:
    """Plain ASGI in front of an app; every other request passes through."""

    def __init__(self, app: ASGIApp, services: Services, routes: Sequence[TaskRoute]) -> None:
        self.app = app
        self._services = services
        self._routes = {route.path: (route, QueryReader(route.query)) for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.get(scope.get("path", ""))
        if found is None or scope.get("method") != "POST":
            await self._pass_on(scope, receive, send)
            return
        route, reader = found
        record: RequestRecord = scope[RECORD_KEY]
        record.route = route.path
        try:
            options = reader.read(scope["query_string"])
            response = await route.endpoint(
                Request(scope, receive), self._services, record, options
            )
        except FovealError as error:
            record.error_code = error.code
            if isinstance(error, OverloadedError):
                self._services.shedding.note(scope, record, error)
            response = problem(error, record.request_id)
        await response(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and note its route: a guard may have given a copy of the scope."""
        try:
            require_few_parameters(scope.get("query_string", b""))
        except FovealError as error:
            await error_response(error, scope)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            record: RequestRecord | None = scope.get(RECORD_KEY)
            if record is not None:
                record.route = getattr(scope.get("route"), "path", "")
