"""`POST /v1/{task}`: images in, a task's results out; one route, made from each task."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, Services, ServicesDep
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.openapi import Components
from service.api.queries import FormatQuery, ModelQuery, task_query
from service.api.record import RequestRecord, list_header_of
from service.api.responses import image_response, json_response, run_images
from service.api.schemas import image_body, responses, task_response
from service.calls import TaskCall
from service.errors import InvalidParameterError
from service.imaging.overlay import RenderedImage
from service.media_types import JSON
from service.tasks.task import Task

Endpoint = Callable[[Request, Services, RequestRecord, Any], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class TaskRoute:
    """One task's path, its endpoint and its query parameters."""

    path: str
    endpoint: Endpoint
    query: type[ModelQuery]


def task_route(task: Task) -> TaskRoute:
    """Return the route of a task that takes images."""

    async def endpoint(
        request: Request, services: Services, record: RequestRecord, options: ModelQuery
    ) -> Response:
        return await _answer(task, request, services, record, options)

    return TaskRoute(f"/v1/{task.name}", endpoint, task_query(task))


def add_task_route(router: APIRouter, task: Task, route: TaskRoute, components: Components) -> None:
    """Add a task's route to FastAPI: for the OpenAPI document, and for what is not a POST."""

    async def endpoint(
        request: Request,
        services: ServicesDep,
        record: RecordDep,
        options: Any,  # noqa: ANN401  # set below
    ) -> Response:
        return await route.endpoint(request, services, record, options)

    endpoint.__annotations__["options"] = Annotated[route.query, Query()]
    media_types = dict.fromkeys(
        media_type for one in task.renderings.values() for media_type in one.media_types
    )
    router.add_api_route(
        route.path,
        endpoint,
        methods=["POST"],
        name=task.name,
        tags=["tasks"],
        summary=task.summary,
        response_class=Response,
        openapi_extra=image_body(),
        responses=responses(
            components, f"{task.type_name}Response", task_response(task), *media_types
        ),
    )


async def _answer(
    task: Task,
    request: Request,
    services: Services,
    record: RequestRecord,
    query: ModelQuery,
) -> Response:
    name, media_type = None, JSON
    if task.renderings:
        assert isinstance(query, FormatQuery)
        name, media_type = choose_form(task, query.format, list_header_of(request, b"accept"))
    call = services.engine.dispatch.call(
        task,
        query,
        model=query.model,
        version=query.version,
        rendering=name,
        media_type=media_type,
    )
    record.found(call.model)
    images = await read_images(request, services, record)
    if call.rendering is not None and call.rendering.join is None and len(images) != 1:
        raise InvalidParameterError(
            f"format={name} answers one image per request, not {len(images)}; ask for JSON, or send them one by one"
        )
    results = await run_images(request, services, record, call=call, images=images)
    if call.rendering is None:
        return json_response(call.model, results)
    return image_response(_joined(call, results))


def choose_form(task: Task, form: str | None, accept: str) -> tuple[str | None, str]:
    """Return the name of the rendering that a request wants, None for JSON, and its media type.

    `format` decides, `Accept` where there is none. Of the media types of a rendering `Accept` chooses.
    """
    if form == "json":
        return None, JSON
    if form is not None:
        return form, preferred(accept, task.rendering(form).media_types)
    by_type: dict[str, str] = {}
    for name, rendering in task.renderings.items():
        for media_type in rendering.media_types:
            by_type.setdefault(media_type, name)
    media_type = preferred(accept, [JSON, *by_type])
    return by_type.get(media_type), media_type


def _joined(call: TaskCall, results: list[Any]) -> RenderedImage:
    """Return the body of all images' renderings; it has no room for an image that failed."""
    failed = [index for index, one in enumerate(results) if isinstance(one, dict)]
    if failed:
        detail = results[failed[0]]["error"]["detail"]
        raise InvalidParameterError(
            f"Image {failed[0]} has no result: {detail} Ask for JSON to get the other results."
        )
    rendering = call.rendering
    assert rendering is not None
    rendered: RenderedImage = results[0] if rendering.join is None else rendering.join(results)
    return rendered
