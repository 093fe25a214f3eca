"""`POST /v1/video`: a clip in, each frame's answer out as it is ready, and what they say together."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from PIL import Image
from starlette.types import Receive, Scope, Send

from service.api.deps import RecordDep, RequestRecord, Services, ServicesDep
from service.api.errors import problem
from service.api.ingest.upload import receiving
from service.api.negotiation import preferred
from service.api.routes.detect import class_ids
from service.api.routes.embed import WITH_FEATURES
from service.api.schemas import VideoAnswer, VideoOptions, VideoTask, answers, clip_body
from service.card import Card, Task
from service.errors import ClientLeftError, FovealError, InvalidParameterError
from service.heads.detect import DetectionOptions
from service.heads.over_time.classify import ClassifyOverTime
from service.heads.over_time.detect import DetectOverTime
from service.heads.over_time.embed import EmbedOverTime
from service.heads.over_time.protocol import Drawing, OverTime
from service.heads.over_time.segment import SegmentOverTime
from service.heads.over_time.temporal import TemporalOverTime
from service.heads.segment import SegmentClasses
from service.media_types import JSON, MP4, NDJSON, SSE
from service.runtime.registry import Model
from service.video.pipeline import FrameAnswer, FrameReader, look_at, opened, read_windows
from service.video.reader import Clip
from service.video.sampling import Sampling
from service.video.writers import WRITERS, Event, VideoWriter

DEFAULT_FPS = 2.0
DEFAULT_TOP_K = 5

router = APIRouter(tags=["tasks"])

MODELS_OF: Mapping[VideoTask, tuple[Task, ...]] = {
    "classify": ("classify",),
    "segment": ("segment",),
    "detect": ("detect",),
    "embed": WITH_FEATURES,
    "temporal": ("temporal",),
}

OWN_OPTIONS: Mapping[VideoTask, frozenset[str]] = {
    "classify": frozenset({"top_k", "smoothing_seconds"}),
    "segment": frozenset({"polygons"}),
    "detect": frozenset({"score_threshold", "iou_threshold", "max_detections", "classes"}),
    "embed": frozenset(),
    "temporal": frozenset({"top_k", "stride"}),
}
"""What belongs to one task and means nothing to another."""


@router.post(
    "/v1/video",
    summary="Any task on the frames of a clip, and over time",
    openapi_extra=clip_body(),
    responses=answers(VideoAnswer, NDJSON, SSE, MP4),
)
async def watch_video(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[VideoOptions, Query()],
) -> Response:
    """One JSON; or with `Accept: application/x-ndjson` or `text/event-stream` a line or an event a frame."""
    model = services.registry.find(MODELS_OF[options.task], options.model, options.version)
    record.model = model.name
    _refuse_strange_options(options)
    writer = WRITERS[_media_type(options, request.headers.get("accept", ""))]()
    return _Watching(request, services, record, options=options, model=model, writer=writer)


class _Watching(Response):
    """The answer that makes itself while it is sent: body in, events out, until one of the two ends."""

    def __init__(
        self,
        request: Request,
        services: Services,
        record: RequestRecord,
        *,
        options: VideoOptions,
        model: Model,
        writer: VideoWriter,
    ) -> None:
        super().__init__(media_type=writer.media_type)
        self._request = request
        self._services = services
        self._record = record
        self._options = options
        self._model = model
        self._writer = writer
        self._eyes = services.registry.backbone_of(model) if model.card.backbone else model
        self._over_time, self._drawing = _over_time(options, model.card)
        self._deadline = record.deadline
        self._patience_seconds = self._deadline.allowed_seconds
        self._began = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = b""
        try:
            async with (
                asyncio.timeout(self._deadline.left() if self._deadline.requested else None),
                receiving(
                    self._request,
                    self._record,
                    limit=self._services.max_video_bytes,
                    patience_seconds=self._services.timeout_seconds,
                ) as file,
            ):
                with self._services.fan_out.admit():
                    async with opened(
                        file,
                        _sampling(self._options, self._model.card),
                        self._services.clip_limits,
                        self._services.metrics,
                        let_go=file.finish,
                    ) as footage:
                        last = await self._watch(footage, send)
        except TimeoutError:
            await self._fail(
                self._deadline.answer_late(),
                scope,
                receive,
                send,
            )
        except FovealError as error:
            await self._fail(error, scope, receive, send)
        else:
            await self._begin(send)
            await send({"type": "http.response.body", "body": last})

    async def _watch(self, footage: FrameReader, send: Send) -> bytes:
        """Send each answer as it comes; return the last words, which are sent when the client is no longer watched."""
        frames = look_at(
            footage,
            self._eyes,
            self._over_time.look,
            self._services.fan_out,
            timeout_seconds=self._patience_seconds,
            drawing=self._drawing,
        )
        started = False
        async with aclosing(frames):
            async for frame in frames:
                if not started:
                    started = True
                    await self._send(self._writer.start(self._head(footage.clip)), send)
                self._note(frame)
                answer = await asyncio.to_thread(self._answer, frame)
                await self._read_windows(answer)
                await self._send(await asyncio.to_thread(self._tell, answer, frame.drawn), send)
        if isinstance(self._over_time, TemporalOverTime):
            self._over_time.finish()
            await self._read_windows({})
        return await asyncio.to_thread(self._writer.end, self._tail(footage.clip))

    async def _read_windows(self, answer: Event) -> None:
        """Let a head over time read the windows that end with this frame, and add what it says."""
        if isinstance(self._over_time, TemporalOverTime):
            windows = await read_windows(
                self._over_time, self._model, timeout_seconds=self._patience_seconds
            )
            if windows:
                answer["windows"] = windows

    def _tell(self, answer: Event, drawn: Image.Image | None) -> bytes:
        if drawn is not None and isinstance(self._over_time, TemporalOverTime):
            drawn = self._over_time.caption(drawn)
        return self._writer.frame(answer, drawn)

    def _answer(self, frame: FrameAnswer[Any]) -> Event:
        answer: Event = {"number": frame.number, "time": round(frame.seconds, 3)}
        if isinstance(frame.seen, FovealError):
            answer["error"] = {"code": frame.seen.code, "detail": str(frame.seen)}
        else:
            answer |= self._over_time.add(frame.seconds, frame.seen)
        return answer

    def _head(self, clip: Clip) -> Event:
        video = asdict(clip.info)
        return {
            "model": self._model.name,
            "version": self._model.version,
            "task": self._options.task,
            "expected": video.pop("expected"),
            "video": video,
        }

    def _tail(self, clip: Clip) -> Event:
        told = {"detail": clip.detail} if clip.detail else {}
        return {
            "ended": clip.ended,
            **told,
            "counts": asdict(clip.counts),
            "summary": self._over_time.summary(),
        }

    def _note(self, frame: FrameAnswer[Any]) -> None:
        self._record.images += 1
        if isinstance(frame.seen, FovealError):
            self._services.metrics.errors.labels(frame.seen.code).inc()
        if frame.trace is not None:
            self._record.traces = [frame.trace]

    async def _begin(self, send: Send) -> None:
        if not self._began:
            self._began = True
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
            raise ClientLeftError("The client stopped reading its answer.") from error

    async def _fail(self, error: FovealError, scope: Scope, receive: Receive, send: Send) -> None:
        self._record.error_code = error.code
        if not self._began:
            answer = problem(error, self._record.request_id)
            answer.headers["Connection"] = "close"  # the rest of the clip is not read
            await answer(scope, receive, send)
            return
        told = {"code": error.code, "status": error.status, "detail": str(error)}
        await send({"type": "http.response.body", "body": self._writer.fail(told)})


def _over_time(options: VideoOptions, card: Card) -> tuple[OverTime[Any], Drawing | None]:
    over_time: OverTime[Any] = _STUDIES[options.task](options, card)
    if options.format != "overlay":
        return over_time, None
    if not isinstance(over_time, Drawing):
        raise InvalidParameterError(f"format: {options.task} has nothing that can be drawn")
    return over_time, over_time


def _classify(options: VideoOptions, card: Card) -> ClassifyOverTime:
    return ClassifyOverTime(card.labels, _top_k(options, card), options.smoothing_seconds)


def _segment(options: VideoOptions, card: Card) -> SegmentOverTime:
    classes = SegmentClasses(card.labels, card.background_id)
    return SegmentOverTime(classes, with_polygons=options.polygons)


def _detect(options: VideoOptions, card: Card) -> DetectOverTime:
    wanted = DetectionOptions(
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        max_detections=options.max_detections,
        class_ids=class_ids(options.classes, card.labels),
    )
    return DetectOverTime(card.labels, wanted)


def _embed(_options: VideoOptions, _card: Card) -> EmbedOverTime:
    return EmbedOverTime()


def _temporal(options: VideoOptions, card: Card) -> TemporalOverTime:
    window = card.window
    assert window is not None  # a card of this task has one
    if options.stride is not None:
        window = window.model_copy(update={"stride": options.stride})
    return TemporalOverTime(card.labels, _top_k(options, card), window)


_STUDIES: Mapping[VideoTask, Callable[[VideoOptions, Card], OverTime[Any]]] = {
    "classify": _classify,
    "segment": _segment,
    "detect": _detect,
    "embed": _embed,
    "temporal": _temporal,
}


def _top_k(options: VideoOptions, card: Card) -> int:
    top_k = options.top_k or min(DEFAULT_TOP_K, len(card.labels))
    if top_k > len(card.labels):
        raise InvalidParameterError(
            f"top_k: {card.name} has 1 to {len(card.labels)} classes, not {top_k}"
        )
    return top_k


def _sampling(options: VideoOptions, card: Card) -> Sampling:
    if options.every_n is not None:
        return Sampling(every_n=options.every_n)
    if options.max_frames is not None:
        return Sampling(count=options.max_frames)
    return Sampling(fps=options.fps or (card.window.fps if card.window else DEFAULT_FPS))


def _refuse_strange_options(options: VideoOptions) -> None:
    """Refuse what contradicts itself or belongs to another task: it would be ignored in silence.

    Raises:
        InvalidParameterError: it names them.
    """
    ways = [name for name in ("fps", "every_n", "max_frames") if getattr(options, name) is not None]
    if len(ways) > 1:
        raise InvalidParameterError(f"{' and '.join(ways)}: say one of them, not {len(ways)}")
    others = frozenset().union(*OWN_OPTIONS.values()) - OWN_OPTIONS[options.task]
    strange = sorted(options.model_fields_set & others)
    if strange:
        raise InvalidParameterError(f"{', '.join(strange)}: not for task={options.task}")


def _media_type(options: VideoOptions, accept: str) -> str:
    if options.format == "overlay":
        return MP4
    offers = [JSON, NDJSON, SSE]
    return preferred(accept, offers)
