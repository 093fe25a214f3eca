"""`POST /v1/explain`: what a network sees in an image; `GET /v1/models/{name}/filters`: its first filters."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from pydantic_core import to_json

from service.api.deadline import time_left
from service.api.deps import RecordDep, Services, ServicesDep
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.openapi import Components, any_of, fields_of, typed_dict
from service.api.queries import ModelQuery
from service.api.responses import (
    image_response,
    require_single,
    while_connected,
)
from service.api.schemas import image_body, responses
from service.card import Task
from service.explain.options import (
    ExplainOptions,
    FiltersOptions,
    explain_request,
    filters_request,
)
from service.explain.probe import find_segmenter
from service.explain.request import ExplainRequest, Form
from service.explain.views import VIEWS, ExplainResult
from service.imaging.overlay import RenderedImage
from service.media_types import JSON, PNG
from service.pipeline import EncodedImage
from service.runtime.job import JobResult
from service.runtime.model import Model

EXPLAINED: tuple[Task, ...] = ("classify", "segment", "detect", "embed")
"""Every network that sees images; a classifier answers when no model is named."""


class ExplainQuery(ExplainOptions, ModelQuery):
    """Which model is explained, and how."""


class FiltersQuery(FiltersOptions):
    """Which version of the model, and how its filters are returned."""

    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest")
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
        responses=responses(components, "ExplainResponse", explanation, PNG),
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
    model = services.engine.registry.find(EXPLAINED, options.model, options.version)
    record.model = model.name
    explaining = explain_request(options, model.card, options.format or _accepted(request))
    image = None
    if VIEWS[explaining.view].needs_image:
        images = await read_images(request, services, record, held=False)
        require_single(images, "explain")
        image = images[0]
    timeout_seconds = time_left(request, record, services.timeout_seconds)
    work = _explain(services, model, image, explaining, timeout_seconds)
    if image is None:
        return _respond(model, (await work).value)
    answer = await while_connected(request, work, timeout_seconds)
    record.answered_by(model, [answer])
    return _respond(model, answer.value)


async def show_filters(
    request: Request,
    name: str,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[FiltersQuery, Query()],
) -> Response:
    model = services.engine.registry.find(EXPLAINED, name, options.version)
    record.model = model.name
    explaining = filters_request(options, options.format or _accepted(request))
    timeout_seconds = time_left(request, record, services.timeout_seconds)
    answer = await _explain(services, model, None, explaining, timeout_seconds)
    return _respond(model, answer.value)


def _accepted(request: Request) -> Form:
    """Return the form that the request's `Accept` prefers."""
    accept = request.headers.get("accept", "")
    return "sheet" if preferred(accept, [JSON, PNG]) == PNG else "json"


async def _explain(
    services: Services,
    model: Model,
    image: EncodedImage | None,
    request: ExplainRequest,
    timeout_seconds: float,
) -> JobResult[ExplainResult | RenderedImage]:
    engine = services.engine
    return await engine.runner.explain(
        model,
        image,
        request,
        task=engine.task(model.card.task),
        segmenter=find_segmenter(engine.registry.models),
        timeout_seconds=timeout_seconds,
    )


def _respond(model: Model, result: Any) -> Response:  # noqa: ANN401  # a TypedDict of any view
    if isinstance(result, RenderedImage):
        return image_response(result)
    body = {"model": model.name, "version": model.version, **result}
    return Response(to_json(body), media_type=JSON, headers={"Vary": "Accept"})
