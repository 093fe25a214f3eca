"""The Open Inference Protocol V2 under `/v2`, as plain ASGI: its paths, its methods and its form of errors.

docs/decisions/0019 says why these are no routes of FastAPI.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.deps import Services
from service.api.dialects.v2.infer import infer
from service.api.dialects.v2.metadata import model_config, model_metadata, server_metadata
from service.api.dialects.v2.repository import (
    index,
    require_plain_load,
    wants_dependents,
    wants_ready_only,
)
from service.api.dialects.v2.statistics import statistics
from service.api.dialects.v2.ultralytics import UltralyticsView, ultralytics_view, viewed_name
from service.api.error_forms import error_response, is_open_inference
from service.api.ingest.body import read_body
from service.api.record import RECORD_KEY, RequestRecord
from service.api.tensors import limits_of
from service.errors import (
    FovealError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    UnknownModelError,
    UnknownVersionError,
)
from service.media_types import JSON
from service.runtime.change import Change
from service.runtime.fleet import LONGEST_VERSION, is_version
from service.runtime.model import Model
from service.value import value

_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[0-9]+))?(/(?P<what>ready|config|stats|infer))?"
)
_REPOSITORY = re.compile(r"/v2/repository/models/(?P<name>[^/]+)/(?P<what>load|unload)")
T = TypeVar("T")


@value
class RoutePath:
    """The template of a path, by which its requests are counted."""

    path: str


class OpenInference:
    """Plain ASGI in front of an app: it answers what is under `/v2`, and passes on everything else."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self._services = services
        self._paths: Mapping[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/v2": ("GET", self._server),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            "/v2/models/stats": ("GET", partial(self._stats, models=None)),
            "/v2/repository/index": ("POST", self._index),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_open_inference(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            response = await self._answer(Request(scope, receive))
        except FovealError as error:
            if isinstance(error, OverloadedError):
                self._services.shedding.note(scope, scope[RECORD_KEY], error)
            response = error_response(error, scope)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        known = self._paths.get(path)
        if known is not None:
            request.scope["route"] = RoutePath(path)
            method, answer = known
            if refused := _refused(request, method):
                return refused
            return await answer(request)
        if changing := _REPOSITORY.fullmatch(path):
            return await self._change(request, changing["name"], changing["what"])
        found = _MODEL.fullmatch(path)
        if found is None:
            raise NotFoundError(f"There is nothing at {path[:200]}. See docs/v2.md for the paths.")
        viewed = viewed_name(found["name"])
        name, version, what = viewed or found["name"], found["version"], found["what"]
        request.scope["route"] = RoutePath(_template(version, what))
        if refused := _refused(request, "POST" if what == "infer" else "GET"):
            return refused
        engine = self._services.engine
        if what == "infer":
            network = _found(engine.dispatch.tensor_call, name, version)
            view = ultralytics_view(network.model) if viewed else None
            return await infer(request, self._services, request.scope[RECORD_KEY], network, view)
        model = _found(engine.model, name, version)
        view = ultralytics_view(model) if viewed else None
        return await self._of_model(request, model, version, what, view)

    async def _change(self, request: Request, name: str, what: str) -> Response:
        """Load a model as its policy says, or unload it."""
        request.scope["route"] = RoutePath(f"/v2/repository/models/{{model}}/{what}")
        if refused := _refused(request, "POST"):
            return refused
        self._services.require_admin()
        record: RequestRecord = request.scope[RECORD_KEY]
        body = await read_body(request, self._services, record, held=False)
        if what == "load":
            require_plain_load(body)
            await self._services.change(Change(kind="load_model", name=name))
        else:
            dependents = wants_dependents(body)
            await self._services.change(
                Change(kind="unload_model", name=name, dependents=dependents)
            )
        return Response()

    async def _of_model(
        self,
        request: Request,
        model: Model,
        version: str | None,
        what: str | None,
        view: UltralyticsView | None,
    ) -> Response:
        engine = self._services.engine
        if what == "stats":
            models = [model] if version else engine.registry.versions(model.name)
            return await self._stats(request, models=models)
        model.require_served()
        if what == "ready":
            ready = model.can_answer
            return _json({"name": (view or model).name, "ready": ready}, 200 if ready else 503)
        if what == "config":
            return _json(model_config(model, engine, limits_of(self._services).most_rows, view))
        return _json(model_metadata(model, engine, view))

    async def _server(self, _: Request) -> Response:
        return _json(server_metadata(self._services.engine.version, admin=self._services.admin))

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Response:
        reasons = await self._services.not_ready()
        return _json({"ready": not reasons}, 503 if reasons else 200)

    async def _stats(
        self, _: Request, *, models: list[Model] | tuple[Model, ...] | None
    ) -> Response:
        services = self._services
        shown = services.engine.registry.models if models is None else models
        versions = [(one.name, str(one.version)) for one in shown]
        encode = partial(statistics, versions=versions)
        kind = ("statistics", *versions)
        text = await services.exposition(kind, encode, services.metrics.statistics)
        return Response(text, media_type=JSON)

    async def _index(self, request: Request) -> Response:
        record: RequestRecord = request.scope[RECORD_KEY]
        body = await read_body(request, self._services, record, held=False)
        return _json(index(self._services.engine, ready_only=wants_ready_only(body)))


def _found(find: Callable[[str, int | None], T], name: str, version: str | None) -> T:
    """Return what is found of the model that a path names, with an error in Triton's words where there is none."""
    try:
        if version is not None and not is_version(version):
            raise UnknownVersionError(
                f"A version is a whole number of at most {LONGEST_VERSION} digits, the first of which is not 0."
            )
        return find(name, int(version) if version else None)
    except UnknownModelError as error:
        raise UnknownModelError(
            f"Request for unknown model: '{name[:64]}' is not found. {error}"
        ) from error
    except UnknownVersionError as error:
        shown = f" version {version[:LONGEST_VERSION]}" if version else ""
        raise UnknownVersionError(
            f"Request for unknown model: '{name[:64]}'{shown} is not found. {error}"
        ) from error


def _json(body: object, status: int = 200) -> Response:
    return Response(to_json(body), status, media_type=JSON)


def _template(version: str | None, what: str | None) -> str:
    return (
        "/v2/models/{model}"
        + ("/versions/{version}" if version else "")
        + (f"/{what}" if what else "")
    )


def _refused(request: Request, method: str) -> Response | None:
    """Return the response for a method that a path does not take."""
    if request.method == method:
        return None
    allowed = "GET, HEAD" if method == "GET" else method
    error = MethodNotAllowedError(
        f"{request.url.path[:200]} takes {allowed}, not {request.method}."
    )
    response = error_response(error, request.scope)
    response.headers["Allow"] = allowed
    return response
