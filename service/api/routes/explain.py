"""`POST /v1/explain`: what a network sees in an image; `GET /v1/models/{name}/filters`: its first filters."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from pydantic_core import to_json

from service.api.deps import RecordDep, ServicesDep
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.openapi import Components, any_of, fields_of, typed_dict
from service.api.queries import ModelQuery
from service.api.record import RequestRecord, list_header_of
from service.api.responses import (
    image_response,
    require_single,
    while_connected,
)
from service.api.schemas import image_body, responses
from service.api.version import AS_WRITTEN
from service.calls import ExplainCall
from service.explain.options import ExplainOptions, FiltersOptions
from service.explain.request import Form
from service.explain.views import VIEWS
from service.imaging.overlay import RenderedImage
from service.media_types import FLOATS, JSON, PNG
from service.runtime.model import Model


class ExplainQuery(ExplainOptions, ModelQuery):
    """Which model is explained, and how."""


class FiltersQuery(FiltersOptions):
    """Which version of the model, and how its filters are returned."""

    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest"), AS_WRITTEN
    ] = None


def explain_router(components: Components) -> APIRouter:
    """Return the routes of explanations."""
    router = APIRouter(tags=["explanations"])
    served = {
        name: typed_dict(
            f"{name.capitalize()}Explanation",
            {"model": str, "version": int, **fields_of(view.result)},
        )
        for name, view in VIEWS.items()
    }
    explanation: Any = Annotated[any_of(*served.values()), Field(discriminator="view")]
    router.add_api_route(
        "/v1/explain",
        explain_image,
        methods=["POST"],
        summary="What a network sees: its filters, maps, patterns, and the pixels that speak for its answer",
        response_class=Response,
        openapi_extra=image_body(),
        responses=responses(components, "ExplainResponse", explanation, PNG, FLOATS),
    )
    router.add_api_route(
        "/v1/models/{name}/filters",
        show_filters,
        summary="The first convolution's learned filters",
        response_class=Response,
        responses=responses(components, "FiltersResponse", served["filters"], PNG),
    )
    return router


async def explain_image(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[ExplainQuery, Query()],
) -> Response:
    """One image per request; docs/explain.md describes every view and its result."""
    form = options.format or _accepted(request)
    call = services.engine.dispatch.explain_call(
        options, form, model=options.model, version=options.version
    )
    record.found(call.model)
    if not call.needs_image:
        return await _filters(call, record)
    images = await read_images(request, services, record, held=False)
    require_single(images, "explain")
    if services.shares is not None:
        record.release_with_response(services.shares.fan_out(request.scope))
    deadline = record.deadline
    work = call.run(
        images[0], timeout_seconds=deadline.left(), allowed_seconds=deadline.allowed_seconds
    )
    late = partial(call.late, deadline.allowed_seconds)
    result = await while_connected(request, work, deadline, late)
    record.answered([result])
    return _respond(call.model, result.value)


async def show_filters(
    request: Request,
    name: str,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[FiltersQuery, Query()],
) -> Response:
    form = options.format or _accepted(request)
    call = services.engine.dispatch.explain_call(options, form, model=name, version=options.version)
    record.found(call.model)
    return await _filters(call, record)


async def _filters(call: ExplainCall, record: RequestRecord) -> Response:
    result = await call.run(None, timeout_seconds=record.deadline.left())
    return _respond(call.model, result.value)


def _accepted(request: Request) -> Form:
    """Return the form that the request's `Accept` prefers."""
    accept = list_header_of(request, b"accept")
    return "sheet" if preferred(accept, [JSON, PNG]) == PNG else "json"


def _respond(model: Model, result: Any) -> Response:  # noqa: ANN401  # a TypedDict of any view
    if isinstance(result, RenderedImage):
        return image_response(result)
    body = {"model": model.name, "version": model.version, **result}
    return Response(to_json(body), media_type=JSON, headers={"Vary": "Accept"})
