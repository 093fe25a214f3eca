"""Calls that change what is served: versions, aliases, shares, the shadow, and all of it anew."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from service.api.deps import Services, ServicesDep
from service.api.ingest.model_upload import Upload, receive_model
from service.api.ingest.pace import Pace
from service.api.json_value import read_value
from service.api.openapi import BINARY, Components
from service.api.schemas import problems
from service.api.version import AS_WRITTEN
from service.errors import FovealError, InvalidParameterError, ModelInUseError
from service.media_types import JSON
from service.runtime.change import Change, ChangeReport
from service.runtime.fleet import ALIAS_NAME, FLEET_FILE, LARGEST_VERSION, MODEL_NAME, Share
from service.spans import span
from service.whole_call import whole_call

Name = Annotated[str, Path(pattern=f"^{MODEL_NAME.pattern}$")]
Version = Annotated[int, Path(ge=1, le=LARGEST_VERSION), AS_WRITTEN]
Alias = Annotated[str, Path(pattern=f"^{ALIAS_NAME.pattern}$")]
_ALIAS_EXAMPLE, _SHADOW_EXAMPLE = '{"version": 2}', '{"version": "canary"}'
_WEIGHTS_EXAMPLE = '{"1": 90, "canary": 10}'
_FILE = {"requestBody": {"content": {"application/octet-stream": {"schema": BINARY}}}}


class AliasTarget(BaseModel):
    """Which version an alias leads to."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=LARGEST_VERSION, strict=True)


class ShadowTarget(BaseModel):
    """Which version runs requests too, and never answers them: an alias, or a version."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(strict=True)] | str = Field(description="A version, or an alias")


_ALIAS, _SHADOW = TypeAdapter(AliasTarget), TypeAdapter(ShadowTarget)
_WEIGHTS = TypeAdapter(dict[str, Share])


def _takes(kind: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the part of the document that says what a body must be."""
    content = {JSON: {"schema": kind.json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def admin_router(components: Components) -> APIRouter:
    """Return the routes that change what is served."""
    router = APIRouter(tags=["admin"])
    errors = problems(components, 400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 503, 504)

    def add(path: str, method: str, endpoint: object, summary: str, **more: object) -> None:
        router.add_api_route(
            path,
            endpoint,  # type: ignore[arg-type]
            methods=[method],
            summary=summary,
            responses=errors,
            **more,  # type: ignore[arg-type]
        )

    one, alias = "/v1/models/{name}/versions/{version}", "/v1/models/{name}/aliases/{alias}"
    weights, shadow = "/v1/models/{name}/weights", "/v1/models/{name}/shadow"
    add(
        one,
        "PUT",
        put_version,
        "Serve a version: of the body, or of the folder",
        openapi_extra=_FILE,
    )
    add(one, "DELETE", delete_version, "Serve a version no more")
    add(alias, "PUT", put_alias, "Let an alias lead to a version", openapi_extra=_takes(_ALIAS))
    add(alias, "DELETE", delete_alias, "Remove an alias")
    add(
        weights,
        "PUT",
        put_weights,
        "Split the requests that name no version by shares in percent",
        openapi_extra=_takes(_WEIGHTS),
    )
    add(
        shadow,
        "PUT",
        put_shadow,
        "Let a version run these requests too",
        openapi_extra=_takes(_SHADOW),
    )
    add(shadow, "DELETE", delete_shadow, "Have no shadow")
    add("/v1/admin/reload", "POST", reload, "Serve what the folder and foveal.toml say now")
    return router


async def put_version(
    name: Name, version: Version, request: Request, services: ServicesDep
) -> ChangeReport:
    services.require_admin()
    if name == FLEET_FILE:
        raise InvalidParameterError(
            f"{FLEET_FILE} is the file that says what is served, and can not name a model. Send it under another name."
        )
    if name in services.engine.chains.names:
        raise ModelInUseError(
            f"{name} is the name of a chain. Send the model under another name, or remove the chain first."
        )
    with span("receive"):
        upload = await receive_model(
            request,
            services.engine.models_folder.path,
            name,
            version,
            most_bytes=services.max_model_bytes,
            most_seconds=services.max_upload_seconds,
            pace=Pace(services.min_bytes_per_second, services.timeout_seconds),
            places=services.uploads,
            require_room=services.engine.registry.require_room,
        )
    change = Change(kind="load_version", name=name, version=version)
    if upload is None:
        return await services.change(change)
    # It goes on when the client leaves, and a file that can not be served is removed then too.
    return await asyncio.shield(asyncio.ensure_future(_serve_sent(services, change, upload)))


async def _serve_sent(services: Services, change: Change, upload: Upload) -> ChangeReport:
    """Serve a version that was sent, or remove it."""
    try:
        return await services.change(change)
    except FovealError:
        await upload.remove()
        raise
    finally:
        await upload.end()


async def delete_version(
    name: Name,
    version: Version,
    services: ServicesDep,
    *,
    file: Annotated[
        bool, Query(description="Whether its folder is removed too; else the next start serves it")
    ] = False,
) -> ChangeReport:
    services.require_admin()
    if file:
        await whole_call(services.engine.models_folder.require_removable, name, version)
    # Each process knows for itself whether it serves the version, so that all of them decide.
    report = await services.change(
        Change(kind="unload_version", name=name, version=version, file=file)
    )
    if not file:
        return report
    await services.engine.models_folder.remove(name, version)
    looked = await services.change(Change(kind="look", name=name, version=version))
    return report.followed_by(looked)


async def put_alias(
    name: Name, alias: Alias, request: Request, services: ServicesDep
) -> ChangeReport:
    services.require_admin()
    target = await read_value(request, services, _ALIAS, _ALIAS_EXAMPLE)
    return await services.change(
        Change(kind="alias", name=name, alias=alias, version=target.version)
    )


async def delete_alias(name: Name, alias: Alias, services: ServicesDep) -> ChangeReport:
    services.require_admin()
    return await services.change(Change(kind="alias", name=name, alias=alias))


async def put_weights(name: Name, request: Request, services: ServicesDep) -> ChangeReport:
    services.require_admin()
    weights = await read_value(request, services, _WEIGHTS, _WEIGHTS_EXAMPLE)
    if len(weights) > 100:
        raise InvalidParameterError("weights: at most 100 shares")
    return await services.change(Change(kind="weights", name=name, weights=weights))


async def put_shadow(name: Name, request: Request, services: ServicesDep) -> ChangeReport:
    services.require_admin()
    target = await read_value(request, services, _SHADOW, _SHADOW_EXAMPLE)
    return await services.change(Change(kind="shadow", name=name, shadow=str(target.version)))


async def delete_shadow(name: Name, services: ServicesDep) -> ChangeReport:
    services.require_admin()
    return await services.change(Change(kind="shadow", name=name))


async def reload(services: ServicesDep) -> ChangeReport:
    services.require_admin()
    return await services.change(Change(kind="reload"))
