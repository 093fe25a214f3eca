"""`POST /v1/chain`: find, crop, read: images in, boxes with what the later steps say of each out."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from pydantic_core import to_json

from service.api.deps import RecordDep, Services, ServicesDep
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.openapi import Components
from service.api.record import RequestRecord, list_header_of, route_of
from service.api.responses import (
    JsonResponse,
    image_response,
    require_single,
    results_of,
    while_connected,
)
from service.api.schemas import chain_response, image_body, responses
from service.chains.call import ChainCall
from service.media_types import JPEG, JSON, PNG
from service.pipeline import EncodedImage
from service.tasks.task import TaskOptions


class ChainQuery(TaskOptions):
    """Which chain answers, and in which form."""

    model: Annotated[
        str | None,
        Field(
            max_length=64,
            description="Name of the chain; default: the default chain, else the only one",
        ),
    ] = None
    format: Annotated[
        Literal["json", "overlay"] | None,
        Field(
            description="`overlay`: the image with its boxes and what is read in them. Default: by `Accept`, else JSON"
        ),
    ] = None


def chain_router(components: Components) -> APIRouter:
    """Return the route of all chains."""
    router = APIRouter(tags=["tasks"])
    router.add_api_route(
        "/v1/chain",
        read_chain,
        methods=["POST"],
        summary="Find, crop, read: what a chain of models says of each image",
        response_class=Response,
        openapi_extra=image_body(),
        responses=responses(components, "ChainResponse", chain_response(), PNG, JPEG),
    )
    return router


async def read_chain(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    query: Annotated[ChainQuery, Query()],
) -> Response:
    """docs/chains.md describes chains, and the file that makes one."""
    call = services.engine.chains.call(query.model)
    record.model = call.chain.name
    media_type = _media_type(query.format, list_header_of(request, b"accept"))
    images = await read_images(request, services, record, held=False)
    if media_type != JSON:
        require_single(images, "format=overlay")
    if services.shares is not None:
        record.release_with_response(services.shares.fan_out(request.scope))
    if media_type != JSON:
        return await _drawn(request, record, call, images[0], media_type)
    return await _listed(request, services, record, call, images)


def _media_type(form: str | None, accept: str) -> str:
    if form == "json":
        return JSON
    return preferred(accept, [PNG, JPEG] if form else [JSON, JPEG, PNG])


async def _listed(
    request: Request,
    services: Services,
    record: RequestRecord,
    call: ChainCall,
    images: list[EncodedImage],
) -> Response:
    deadline = record.deadline
    work = call.run(images, timeout_seconds=deadline.left())
    outcomes = await while_connected(request, work, deadline)
    record.answered(outcomes)
    results: list[Any] = results_of(outcomes, services, record, route_of(record, request.scope))
    body = {"chain": call.chain.name, "steps": call.steps, "results": results}
    return JsonResponse(to_json(body))


async def _drawn(
    request: Request, record: RequestRecord, call: ChainCall, image: EncodedImage, media_type: str
) -> Response:
    deadline = record.deadline
    work = call.render(image, timeout_seconds=deadline.left(), media_type=media_type)
    outcome = await while_connected(request, work, deadline)
    record.answered([outcome])
    return image_response(outcome.value)
