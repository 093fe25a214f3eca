"""The service over HTTP: an engine, the routes that call it, and the middleware around them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import Peers, Services
from service.api.dialects.deepstack import deepstack
from service.api.dialects.kserve_v1 import kserve_v1
from service.api.dialects.label_studio.app import label_studio
from service.api.dialects.v2.app import OpenInference
from service.api.dialects.x_anylabeling import x_anylabeling
from service.api.docs import serve_docs
from service.api.document import serve_document
from service.api.errors import handle_errors
from service.api.fast_path import FastPath
from service.api.guards.cors import cors_guard
from service.api.guards.hosts import HostGuard
from service.api.guards.keys import KeyGuard, no_admin_guard
from service.api.guards.queue_share import QueueShares
from service.api.guards.rate_limit import RateLimitGuard, by_address, by_key, parse_rate
from service.api.guide import has_guide, serve_guide
from service.api.ingest.admission import Admission
from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.model_upload import UploadPlaces
from service.api.ingest.remote_images import RemoteImages, home_of
from service.api.middleware import Middleware, Telemetry, guarded
from service.api.openapi import Components, publish
from service.api.output_room import OutputRoom
from service.api.protocol import Protocol, Protocols
from service.api.queries import require_single_parameters
from service.api.routes import operations
from service.api.routes.admin import admin_router
from service.api.routes.chain import chain_router
from service.api.routes.explain import explain_router
from service.api.routes.models import models_router
from service.api.routes.playground import playground_router
from service.api.routes.task import TaskRoute, add_task_route, task_route
from service.api.routes.video import video_router
from service.engine import Engine
from service.errors import ConfigurationError
from service.keys import KeyRing
from service.settings import Settings

HELD_BYTES_PER_THREAD = 8 * 2**20
"""Of large bodies: two or three photographs of a phone."""


def create_app(
    engine: Engine,
    settings: Settings,
    *,
    middleware: Sequence[Middleware] = (),
    peers: Peers | None = None,
) -> Telemetry:
    """Return the service as an ASGI app; nothing runs before its lifespan does.

    Args:
        engine: what answers; the app's lifespan runs it.
        settings: the limits of requests.
        middleware: plain ASGI around everything and around the guards of the settings, the first one outermost. With
            any of them no request is refused before it is parsed, because its queue is full.
        peers: the service's other processes, where there are any.
    """
    services = _services(engine, settings, peers, sheds=not middleware and sheds_with(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(
        title="Foveal",
        summary="Images in, meaning out",
        version=engine.version,
        lifespan=lifespan,
        openapi_url=None,  # `serve_document` has it
        docs_url=None,
        redoc_url=None,
        # A redirect repeats the host that the client names, which may be another one's.
        redirect_slashes=False,
        dependencies=[Depends(require_single_parameters)],
    )
    app.state.services = services
    handle_errors(app)
    serve_document(app)
    serve_docs(app)
    serve_guide(app, settings.guide)
    spoken = Protocols(app, services, protocols_of(settings))
    behind = HeadAsGet(OpenInference(spoken, services))
    fast_path = FastPath(
        behind, services, _add_routes(app, engine, guide=has_guide(settings.guide))
    )
    return Telemetry(guarded(fast_path, [*middleware, *guards_of(settings)]), services, app)


def guards_of(settings: Settings) -> list[Middleware]:
    """Return the guards that the settings turn on, the outermost first; what is off costs nothing.

    The host is checked first, because no answer is for a page under another name. CORS stands around whatever may
    refuse, so that a page can read why. Addresses are counted before keys are checked, so that guessing is limited.

    Raises:
        ConfigurationError: the keys can not be read, or a rate limit can not be understood.
    """
    guards: list[Middleware] = []
    if settings.allowed_hosts:
        guards.append(partial(HostGuard, hosts=settings.allowed_hosts))
    if settings.cors_origins:
        guards.append(partial(cors_guard, origins=settings.cors_origins))
    if limits := parse_rate("address", settings.rate_limit_per_address):
        guards.append(partial(RateLimitGuard, limits=limits, identify=by_address))
    if settings.keys is None:
        guards.append(no_admin_guard)
    else:
        guards.append(partial(KeyGuard, keys=KeyRing(settings.keys)))
    if limits := parse_rate("key", settings.rate_limit_per_key):
        guards.append(partial(RateLimitGuard, limits=limits, identify=by_key))
    return guards


def protocols_of(settings: Settings) -> list[Protocol]:
    """Return the protocols of other programs that the settings turn on, beside `/v1` and `/v2`."""
    token = settings.label_studio_token.get_secret_value()
    headers = (("Authorization", f"Token {token}"),) if token else ()
    home = home_of(settings.label_studio_url, headers)
    known = (
        deepstack(settings.deepstack_labels),
        kserve_v1(),
        label_studio(RemoteImages(settings.fetch_hosts, home)),
        x_anylabeling(),
    )
    return [one for one in known if one.name in settings.dialects]


def _services(engine: Engine, settings: Settings, peers: Peers | None, *, sheds: bool) -> Services:
    admission = Admission(
        turns=engine.threads,
        room=settings.max_held_bytes or engine.threads * HELD_BYTES_PER_THREAD,
        capacity=settings.queue_size,
    )
    arriving = ArrivingBodies(
        max(settings.max_unfinished_bytes, settings.max_body_bytes), memory=engine.bodies
    )
    videos = ArrivingBodies(
        settings.max_fan_outs * settings.max_video_bytes, memory=engine.video_memory.files
    )
    engine.metrics.unfinished_bytes.set_function(lambda: arriving.bytes + videos.bytes)
    engine.metrics.held_bytes.set_function(lambda: admission.held_bytes)
    engine.metrics.waiting_bodies.set_function(
        lambda: admission.waiting + engine.bodies.waiting + arriving.fetched.waiting
    )
    return Services(
        engine=engine,
        outputs=OutputRoom(engine.answer_bytes),
        admission=admission,
        arriving=arriving,
        arriving_videos=videos,
        video_memory=engine.video_memory,
        uploads=UploadPlaces(settings.max_uploads),
        max_body_bytes=settings.max_body_bytes,
        max_images=settings.max_images,
        max_form_fields=settings.max_form_fields,
        max_json_depth=settings.max_json_depth,
        max_video_bytes=settings.max_video_bytes,
        min_bytes_per_second=settings.min_bytes_per_second,
        longest_seconds=max(settings.timeout_ms, settings.max_timeout_ms) / 1e3,
        admin=_admin(settings),
        max_model_bytes=settings.max_model_bytes,
        max_upload_seconds=settings.max_upload_seconds,
        peers=peers,
        shares=_shares(settings),
        sheds=sheds,
    )


def _admin(settings: Settings) -> bool:
    """Return whether calls may change the models.

    Raises:
        ConfigurationError: the settings allow it to everyone.
    """
    if settings.admin and settings.keys is None:
        raise ConfigurationError(
            "FOVEAL_ADMIN is set and FOVEAL_KEYS is not: whoever reaches the service could change its models. Make a "
            "key with `foveal key new NAME --scope admin`, and set FOVEAL_KEYS to the file with its entry."
        )
    return settings.admin


def _shares(settings: Settings) -> QueueShares | None:
    if settings.queue_share == 1:
        return None
    return QueueShares(settings.queue_share, settings.queue_size, settings.max_fan_outs)


def sheds_with(settings: Settings) -> bool:
    """Return whether requests to a full queue may be refused before they are parsed, and so before the guards."""
    return not (
        settings.keys
        or settings.allowed_hosts
        or settings.cors_origins
        or settings.rate_limit_per_address
        or settings.rate_limit_per_key
        or settings.queue_share < 1
    )


def _add_routes(app: FastAPI, engine: Engine, *, guide: bool) -> list[TaskRoute]:
    """Add every route, and return those that the fast path answers."""
    components = Components()
    router = APIRouter()
    routes = []
    for task in engine.tasks.values():
        if task.head is not None:
            routes.append(task_route(task))
            add_task_route(router, task, routes[-1], components)
    for one in (
        router,
        explain_router(components),
        chain_router(components),
        video_router(engine.tasks, components),
        models_router(components),
        admin_router(components),
        operations.router,
        playground_router(guide=guide),
    ):
        app.include_router(one)
    publish(app, components)
    return routes


class HeadAsGet:
    """Plain ASGI: HEAD is answered with the headers of GET and without its body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_without_body)
        finally:
            scope["route"] = as_get.get("route")  # by which the request is counted
