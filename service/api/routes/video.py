"""`POST /v1/video`: a video in, each frame's result out as it is ready, and what they say together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, Services, ServicesDep
from service.api.ingest.upload import receiving
from service.api.negotiation import preferred
from service.api.openapi import Components
from service.api.queries import VideoQuery, video_options, video_query
from service.api.record import RequestRecord, list_header_of, route_of
from service.api.schemas import responses, video_body, video_event, video_response
from service.api.streaming import SendPiece, StreamedResponse
from service.chains.chains import CHAIN
from service.engine import Engine
from service.errors import FovealError, InvalidParameterError
from service.media_types import JSON, MP4, NDJSON, SSE
from service.spans import span
from service.tasks.task import Task
from service.video.events import VideoEvent, VideoFrame, VideoSummary
from service.video.pipeline import VideoRun
from service.video.writers import WRITERS, VideoWriter
from service.whole_call import whole_call


def video_router(tasks: Mapping[str, Task], components: Components) -> APIRouter:
    """Return the route, whose query and responses are made from the tasks."""
    router = APIRouter(tags=["tasks"])

    async def watch_video(
        request: Request,
        services: ServicesDep,
        record: RecordDep,
        query: Any,  # noqa: ANN401  # set below
    ) -> Response:
        """One JSON; or with `Accept: application/x-ndjson` or `text/event-stream` a line or an event per frame."""
        return _respond(request, services, record, query)

    watch_video.__annotations__["query"] = Annotated[video_query(tasks), Query()]
    router.add_api_route(
        "/v1/video",
        watch_video,
        methods=["POST"],
        summary="Any task on the frames of a video, and over time",
        response_class=Response,
        openapi_extra=video_body(),
        responses=responses(
            components, "VideoResponse", video_response(tasks), MP4, event=video_event(tasks)
        ),
    )
    return router


def _respond(
    request: Request, services: Services, record: RequestRecord, query: VideoQuery
) -> Response:
    engine, deadline = services.engine, record.deadline
    run = _run_of(engine, query, deadline.allowed_seconds)
    record.found(run.model)
    record.model = run.served.get("chain") or record.model
    accept = list_header_of(request, b"accept")
    media_type = MP4 if query.format == "overlay" else preferred(accept, [JSON, NDJSON, SSE])
    writer = WRITERS[media_type]()
    return StreamedResponse(
        partial(_watch, request, services, record, run=run, writer=writer),
        record,
        media_type=media_type,
        fail=writer.fail,
        patience_seconds=services.timeout_seconds,
    )


def _run_of(engine: Engine, query: VideoQuery, timeout_seconds: float) -> VideoRun:
    options, draws = video_options(query, engine.tasks), query.format == "overlay"
    if query.task == CHAIN:
        if query.version is not None:
            raise InvalidParameterError(
                "version: a chain has none; its file names those of its models"
            )
        return engine.dispatch.chain_run(
            query, name=query.model, draws=draws, timeout_seconds=timeout_seconds
        )
    return engine.dispatch.video_run(
        engine.task(query.task),
        options,
        query,
        model=query.model,
        version=query.version,
        draws=draws,
        timeout_seconds=timeout_seconds,
    )


async def _watch(
    request: Request,
    services: Services,
    record: RequestRecord,
    send: SendPiece,
    *,
    run: VideoRun,
    writer: VideoWriter,
) -> bytes:
    """Send each event as it comes; return the last bytes, to be sent when the client is no longer watched.

    Only a deadline that the client states limits a whole video.
    """
    last, deadline = b"", record.deadline
    limit = deadline.limit(deadline.answer_late) if deadline.requested else nullcontext()
    upload = receiving(
        request,
        record,
        limit=services.max_video_bytes,
        patience_seconds=services.timeout_seconds,
        arriving=services.arriving_videos,
        memory=services.video_memory,
        least_rate=services.min_bytes_per_second,
    )
    shares = services.shares
    share = nullcontext() if shares is None else shares.fan_out(request.scope)
    # No AsyncExitStack: it keeps the error that ends it in a cycle, and so the frames in flight.
    async with limit, _entered(share), upload as file:
        running = services.engine.videos.run(run, file, stop_reading=file.finish, arrival=file)
        async with aclosing(running) as events:
            async for event in events:
                _note(event, services, record, route_of(record, request.scope))
                # A deadline may end the watching here, and `fail` uses the encoder then.
                with span("encode") if run.draws else nullcontext():
                    piece = await whole_call(writer.write, event)
                if isinstance(event, VideoSummary):
                    last = piece
                else:
                    await send(piece)
    return last


@asynccontextmanager
async def _entered(held: AbstractContextManager[None]) -> AsyncIterator[None]:
    with held:
        yield


def _note(event: VideoEvent, services: Services, record: RequestRecord, route: str) -> None:
    if not isinstance(event, VideoFrame):
        return
    record.images += 1
    if isinstance(event.result, FovealError):
        services.metrics.errors.labels(route, event.result.code).inc()
    if event.trace is not None:
        record.traces = [event.trace]
