"""`POST /v1/video`: a video in, each frame's result out as it is ready, and what they say together."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from service.api.deadline import given_timeout
from service.api.deps import RecordDep, RequestRecord, Services, ServicesDep
from service.api.errors import problem
from service.api.ingest.upload import receiving
from service.api.negotiation import preferred
from service.api.openapi import Components
from service.api.queries import VideoQuery, video_options, video_query
from service.api.schemas import responses, video_body, video_event, video_response
from service.errors import ClientLeftError, DeadlineError, FovealError
from service.media_types import JSON, MP4, NDJSON, SSE
from service.tasks.task import Task
from service.video.events import VideoEvent, VideoFrame, VideoSummary
from service.video.pipeline import VideoRun
from service.video.writers import WRITERS, VideoWriter


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
) -> "VideoResponse":
    engine = services.engine
    deadline_seconds = given_timeout(request)
    run = engine.video_run(
        engine.task(query.task),
        video_options(query, engine.tasks),
        query,
        model=query.model,
        version=query.version,
        draws=query.format == "overlay",
        timeout_seconds=deadline_seconds,
    )
    record.model = run.model.name
    accept = request.headers.get("accept", "")
    media_type = MP4 if query.format == "overlay" else preferred(accept, [JSON, NDJSON, SSE])
    return VideoResponse(
        services,
        record,
        run=run,
        writer=WRITERS[media_type](),
        request=request,
        deadline_seconds=deadline_seconds,
    )


class VideoResponse(Response):
    """A response that is made while it is sent: the body comes in, events go out, until one of the two ends."""

    def __init__(
        self,
        services: Services,
        record: RequestRecord,
        *,
        run: VideoRun,
        writer: VideoWriter,
        request: Request,
        deadline_seconds: float | None,
    ) -> None:
        super().__init__(media_type=writer.media_type)
        self._services = services
        self._record = record
        self._run = run
        self._writer = writer
        self._request = request
        self._deadline_seconds = deadline_seconds
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            last = await self._watch(send)
        except TimeoutError:
            late = f"The video was not done within {(self._deadline_seconds or 0) * 1e3:.0f} ms."
            await self._fail(DeadlineError(late), scope, receive, send)
        except FovealError as error:
            await self._fail(error, scope, receive, send)
        else:
            await self._begin(send)
            await send({"type": "http.response.body", "body": last})

    async def _watch(self, send: Send) -> bytes:
        """Send each event as it comes; return the last bytes, which are sent when the client is no longer watched."""
        services = self._services
        last = b""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(self._deadline_seconds))
            file = await stack.enter_async_context(
                receiving(
                    self._request,
                    self._record,
                    limit=services.max_video_bytes,
                    patience_seconds=services.timeout_seconds,
                )
            )
            running = services.engine.videos.run(self._run, file, stop_reading=file.finish)
            events = await stack.enter_async_context(aclosing(running))
            async for event in events:
                self._note(event)
                piece = await asyncio.to_thread(self._writer.write, event)
                if isinstance(event, VideoSummary):
                    last = piece
                else:
                    await self._send(piece, send)
        return last

    def _note(self, event: VideoEvent) -> None:
        if not isinstance(event, VideoFrame):
            return
        self._record.images += 1
        if isinstance(event.result, FovealError):
            self._services.metrics.errors.labels(event.result.code).inc()
        if event.trace is not None:
            self._record.traces = [event.trace]

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            headers = [
                (b"content-type", self._writer.media_type.encode()),
                (b"vary", b"Accept"),
                (b"cache-control", b"no-store"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send(self, piece: bytes, send: Send) -> None:
        """Send a piece; a client that does not read for too long has left."""
        if not piece:
            return
        try:
            async with asyncio.timeout(self._services.timeout_seconds):
                await self._begin(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientLeftError("The client stopped reading the response.") from error

    async def _fail(self, error: FovealError, scope: Scope, receive: Receive, send: Send) -> None:
        self._record.error_code = error.code
        if not self._begun:
            response = problem(error, self._record.request_id)
            response.headers["Connection"] = "close"  # the rest of the video is not read
            await response(scope, receive, send)
            return
        body = self._writer.fail(error)
        await send({"type": "http.response.body", "body": body})
