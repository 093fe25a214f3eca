"""What the routes take and return, for the OpenAPI document: made from the tasks' own results."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from service.api.errors import PROBLEM_TYPE
from service.api.ingest.images import ImagesAsJson
from service.api.openapi import BINARY, Components, any_of, fields_of, list_of, typed_dict
from service.card import Card
from service.media_types import JSON, NDJSON, SSE
from service.tasks.task import OverTime, Task
from service.video.reader import Ended

Responses = dict[int | str, dict[str, Any]]


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class ErrorDetail(TypedDict):
    code: str
    detail: str


class ImageFailure(TypedDict):
    """Stands in the place of an image that failed among several."""

    error: ErrorDetail


class VideoFile(TypedDict):
    """What the file says of itself; `width` and `height` as displayed."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    container: str
    codec: str
    width: int
    height: int
    rotation: Annotated[int, Field(description="Degrees that frames were turned counter-clockwise")]
    fps: float | None
    seconds: float | None


class FrameCounts(TypedDict):
    decoded: int
    sampled: int
    skipped: Annotated[int, Field(description="Frames that were never decoded")]


class StreamError(TypedDict):
    """An error after the response has begun."""

    code: str
    status: int
    detail: str


class ModelState(BaseModel):
    """A served model: its state, and its card."""

    name: str
    version: int
    state: Literal["loading", "ready", "asleep", "failed"] = Field(
        description="`asleep`: not in memory, and loaded for the next request"
    )
    reason: str = Field(description="Why it is not ready, else empty")
    device: str
    largest_batch: int | None
    default: bool = Field(
        description="Whether its model answers its task when a request names no model"
    )
    memory_bytes: int = Field(
        description="Memory that it holds, as measured when it was loaded; 0 while it is not in memory"
    )
    aliases: list[str] = Field(description="Aliases that lead to it")
    share: float | None = Field(
        description="Percent of its model's requests that name no version; null where the newest version gets them"
    )
    shadow: bool = Field(description="Whether it also runs these requests and never answers them")
    card: Card


class RefusedModel(BaseModel):
    """A version that is in the folder of the models and is not served."""

    name: str
    version: str
    reason: str


class ModelStates(BaseModel):
    models: list[ModelState]
    not_served: list[RefusedModel]


FRAME = {
    "number": Annotated[int, Field(description="In the video, from 0")],
    "time": Annotated[float, Field(description="Seconds from the video's start")],
}
END = {
    "ended": Ended,
    "detail": NotRequired[
        Annotated[str, Field(description="Why it ended before the video's end, or what is damaged")]
    ],
}
HEAD = {"model": str, "version": int}


def task_response(task: Task) -> Any:  # noqa: ANN401  # a type
    """Return the type of a task's JSON response."""
    results = list_of(task.result, ImageFailure)
    return typed_dict(f"{task.type_name}Response", {**HEAD, "results": results})


def video_response(tasks: Mapping[str, Task]) -> Any:  # noqa: ANN401  # a type
    """Return the type of a video's JSON response: one of each task's."""
    video = typed_dict("VideoFacts", fields_of(VideoFile) | fields_of(FrameCounts))
    failed = typed_dict("FailedFrame", {**FRAME, "error": ErrorDetail})

    def response(kind: str, name: str, over_time: OverTime) -> Any:  # noqa: ANN401  # a type
        frame = typed_dict(f"{kind}Frame", {**FRAME, **fields_of(over_time.frame)})
        return typed_dict(
            f"{kind}VideoResponse",
            {
                **HEAD,
                "task": Literal[name],
                "video": video,
                **END,
                "frames": list_of(frame, failed),
                "summary": over_time.summary,
            },
        )

    return any_of(*(response(*one) for one in _over_time(tasks)))


def video_event(tasks: Mapping[str, Task]) -> Any:  # noqa: ANN401  # a type
    """Return the type of one line, or one server-sent event, of a video's streamed response."""
    progress = {"done": int, "of": int | None}
    start = {
        **HEAD,
        "event": Literal["start"],
        "task": Literal[tuple(name for _, name, _ in _over_time(tasks))],
        "expected": int | None,
        "video": VideoFile,
    }
    failed = {"event": Literal["frame"], **progress, **FRAME, "error": ErrorDetail}
    kinds = [
        typed_dict("StartEvent", start),
        typed_dict("FailedFrameEvent", failed),
        typed_dict("ErrorEvent", {"event": Literal["error"], "error": StreamError}),
    ]
    for kind, _, over_time in _over_time(tasks):
        frame = {"event": Literal["frame"], **progress, **FRAME, **fields_of(over_time.frame)}
        end = {
            "event": Literal["summary"],
            **END,
            "counts": FrameCounts,
            "summary": over_time.summary,
        }
        kinds.append(typed_dict(f"{kind}FrameEvent", frame))
        kinds.append(typed_dict(f"{kind}SummaryEvent", end))
    return any_of(*kinds)


def image_body() -> dict[str, Any]:
    """Return the OpenAPI description of a body that is one image, a form of files, or JSON with base64."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": BINARY}},
        "required": ["file"],
    }
    content = {
        "image/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": ImagesAsJson.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


def video_body() -> dict[str, Any]:
    """Return the OpenAPI description of a body that is a video, or a form with one."""
    form = {"type": "object", "properties": {"file": BINARY}, "required": ["file"]}
    content = {
        "video/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


def responses(
    components: Components,
    name: str,
    described: Any,  # noqa: ANN401  # a type
    *media_types: str,
    event: Any = None,  # noqa: ANN401  # a type
) -> Responses:
    """Return the OpenAPI description of a route's responses.

    Args:
        components: gets the types.
        name: of the JSON response.
        described: its type.
        media_types: others that the response can have.
        event: the type of one event, where the response can be streamed as NDJSON or server-sent events.
    """
    content: dict[str, Any] = {JSON: {"schema": components.ref(name, described)}}
    content |= {media_type: {"schema": BINARY} for media_type in media_types}
    if event is not None:
        schema = components.ref("VideoEvent", event)
        content |= {media_type: {"schema": schema} for media_type in (NDJSON, SSE)}
    ok = {"description": "The results", "content": content}
    return {
        200: ok,
        **problems(components, 400, 401, 403, 404, 413, 415, 421, 422, 429, 500, 503, 504),
    }


def problems(components: Components, *statuses: int) -> Responses:
    """Return the OpenAPI description of the errors with these statuses."""
    content = {PROBLEM_TYPE: {"schema": components.ref("Problem", Problem)}}
    return {status: {"description": "A problem", "content": content} for status in statuses}


def _over_time(tasks: Mapping[str, Task]) -> list[tuple[str, str, OverTime]]:
    """Return the type name, the name and how it runs of each task that runs on videos."""
    return [(one.type_name, name, one.over_time) for name, one in tasks.items() if one.over_time]
