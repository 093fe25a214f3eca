"""From a request to its answer, the same for every task: watch the client, take the images through, write JSON."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic_core import to_json

from service.api.deadline import Deadline
from service.api.deps import JsonObject, Services
from service.api.record import RequestRecord, route_of
from service.calls import TaskCall
from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    InvalidParameterError,
    UnavailableError,
    forget_frames,
)
from service.imaging.overlay import RenderedImage
from service.media_types import JSON
from service.pipeline import EncodedImage
from service.response_cache import CachedResult
from service.runtime.job import JobResult
from service.runtime.model import Model

T = TypeVar("T")

_JSON_TYPE = (b"content-type", JSON.encode())


async def run_images(
    request: Request,
    services: Services,
    record: RequestRecord,
    *,
    call: TaskCall,
    images: Sequence[EncodedImage],
) -> list[Any]:
    """Return each image's result, or `{"error": …}` in the place of one that failed among several.

    Raises:
        FovealError: the request as a whole failed, or its only image did.
    """
    if services.shares is not None:
        record.release_with_response(
            services.shares.images(request.scope, call.model.name, len(images))
        )
    outcomes = await call.run(
        images,
        timeout_seconds=record.deadline.left(),
        disconnected=partial(disconnected, request),
        client=record.client,
    )
    record.answered(outcomes)
    if services.engine.cache is not None:
        record.cache_status = cache_status(outcomes)
    return results_of(outcomes, services, record, route_of(record, request.scope))


def results_of(
    outcomes: list[JobResult[Any] | FovealError],
    services: Services,
    record: RequestRecord,
    route: str,
) -> list[Any]:
    """Return each image's result, or `{"error": …}` in the place of one that failed among several.

    The errors are counted for `route`.

    Raises:
        FovealError: the request as a whole failed, or its only image did.
    """
    for outcome in outcomes:
        if isinstance(outcome, DeadlineError):
            raise record.deadline.answer_late()
        if isinstance(outcome, UnavailableError | ClientLeftError) or (
            isinstance(outcome, FovealError) and len(outcomes) == 1
        ):
            raise outcome
    return [
        outcome.value if isinstance(outcome, JobResult) else _error_object(outcome, services, route)
        for outcome in outcomes
    ]


async def while_connected(
    request: Request,
    work: Coroutine[Any, Any, T],
    deadline: Deadline | None,
    late: Callable[[], DeadlineError] | None = None,
) -> T:
    """Return what `work` makes; it is canceled when its time is up, and when the client closes its connection.

    Without a deadline `work` looks at the time itself. `late` makes the error of the deadline, None: the one that every
    route has.

    Raises:
        DeadlineError, ClientLeftError
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(disconnected(request))
    try:
        left = None if deadline is None else deadline.left()
        await asyncio.wait([working, leaving], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done() or deadline is None:
            raise ClientLeftError("The client closed its connection.")
        raise deadline.answer_late() if late is None else late()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait([working, leaving])


def cache_status(outcomes: Sequence[object]) -> str:
    """Return the value of the `Cache-Status` header (RFC 9211): whether all, some or none of the images were known."""
    origins = [one.origin for one in outcomes if isinstance(one, CachedResult)]
    hits, count = origins.count("hit"), len(outcomes)
    if hits == count:
        return "foveal; hit"
    collapsed = "; collapsed" if len(origins) == count else ""
    if hits:
        return f'foveal; fwd=partial{collapsed}; detail="{hits} of {count} images"'
    return f"foveal; fwd=miss{collapsed}"


class JsonResponse(Response):
    """Encoded JSON. It has no headers but its length and type, so these take a third of the usual time."""

    media_type = JSON

    def init_headers(self, _: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), _JSON_TYPE]


def json_response(model: Model, results: Collection[JsonObject]) -> Response:
    """Return the JSON answer; what we made ourselves is encoded once and not validated again."""
    body = {"model": model.name, "version": model.version, "results": results}
    return JsonResponse(to_json(body))


def image_response(image: RenderedImage) -> Response:
    headers = {"Vary": "Accept"}
    if image.shape:
        headers["X-Shape"] = ",".join(map(str, image.shape))
    return Response(image.content, media_type=image.media_type, headers=headers)


def require_single(images: Sequence[EncodedImage], what: str) -> None:
    """Raise where an answer can hold one image's result only.

    Raises:
        InvalidParameterError: there are several.
    """
    if len(images) != 1:
        raise InvalidParameterError(
            f"{what} answers one image per request, not {len(images)}; ask for JSON, or send them one by one"
        )


async def disconnected(request: Request) -> None:
    """Return when the client has closed its connection; the request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error_object(error: FovealError, services: Services, route: str) -> JsonObject:
    services.metrics.errors.labels(route, error.code).inc()
    forget_frames(error)
    return {"error": {"code": error.code, "detail": str(error)}}
