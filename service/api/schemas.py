"""What the routes take and return, for the OpenAPI document: made from the tasks' own results."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from service.api.errors import PROBLEM_TYPE
from service.api.ingest.images import ImagesAsJson
from service.api.openapi import BINARY, Components, any_of, fields_of, list_of, typed_dict
from service.card import Card
from service.chains.chains import CHAIN
from service.chains.definition import Step
from service.chains.result import ChainFrame, ChainResult, ServedStep
from service.heads.over_time.detect import DetectSummary
from service.media_types import JSON, NDJSON, SSE
from service.runtime.choice import Choice
from service.tasks.task import Task
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
    precision: str = Field(
        description="In what it computes; of a model that is loading, its file's"
    )
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
    choice: Choice | None = Field(
        description="With FOVEAL_PRECISION=fast, the ways to serve it that were measured on this machine"
    )
    card: Card


class ChainState(BaseModel):
    """A chain: its state and its steps."""

    name: str
    title: str
    description: str
    state: Literal["ready", "failed"]
    reason: str = Field(description="Why it can not run now, else empty")
    default: bool = Field(description="Whether it answers when no chain is named")
    steps: tuple[Step, ...]


class RefusedModel(BaseModel):
    """A version that is in the folder of the models and is not served."""

    name: str
    version: str
    reason: str


class ModelStates(BaseModel):
    models: list[ModelState]
    chains: list[ChainState] = []
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
CHAIN_HEAD = {"chain": str, "steps": list[ServedStep]}


def task_response(task: Task) -> Any:  # noqa: ANN401  # a type
    """Return the type of a task's JSON response."""
    results = list_of(task.result, ImageFailure)
    return typed_dict(f"{task.type_name}Response", {**HEAD, "results": results})


def chain_response() -> Any:  # noqa: ANN401  # a type
    """Return the type of a chain's JSON response."""
    results = list_of(ChainResult, ImageFailure)
    return typed_dict("ChainResponse", {**CHAIN_HEAD, "results": results})


def video_response(tasks: Mapping[str, Task]) -> Any:  # noqa: ANN401  # a type
    """Return the type of a video's JSON response: one of each task's."""
    video = typed_dict("VideoFacts", fields_of(VideoFile) | fields_of(FrameCounts))
    failed = typed_dict("FailedFrame", {**FRAME, "error": ErrorDetail})

    def response(kind: str, name: str, head: Any, results: tuple[type, type]) -> Any:  # noqa: ANN401  # types
        frame = typed_dict(f"{kind}Frame", {**FRAME, **fields_of(results[0])})
        return typed_dict(
            f"{kind}VideoResponse",
            {
                **head,
                "task": Literal[name],
                "video": video,
                **END,
                "frames": list_of(frame, failed),
                "summary": results[1],
            },
        )

    return any_of(*(response(*one) for one in _over_time(tasks)))


def video_event(tasks: Mapping[str, Task]) -> Any:  # noqa: ANN401  # a type
    """Return the type of one line, or one server-sent event, of a video's streamed response."""
    progress = {"done": int, "of": int | None}
    start = {"event": Literal["start"], "expected": int | None, "video": VideoFile}
    able = tuple(name for name, one in tasks.items() if one.over_time)
    failed = {"event": Literal["frame"], **progress, **FRAME, "error": ErrorDetail}
    kinds = [
        typed_dict("StartEvent", {**HEAD, **start, "task": Literal[able]}),
        typed_dict("ChainStartEvent", {**CHAIN_HEAD, **start, "task": Literal["chain"]}),
        typed_dict("FailedFrameEvent", failed),
        typed_dict("ErrorEvent", {"event": Literal["error"], "error": StreamError}),
    ]
    for kind, _, _, (of_frame, summary) in _over_time(tasks):
        frame = {"event": Literal["frame"], **progress, **FRAME, **fields_of(of_frame)}
        end = {
            "event": Literal["summary"],
            **END,
            "counts": FrameCounts,
            "summary": summary,
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


def _over_time(tasks: Mapping[str, Task]) -> list[tuple[str, str, Any, tuple[type, type]]]:
    """Return of each task that runs on videos, and of chains: name of its types, name, head, frame and summary."""
    found: list[tuple[str, str, Any, tuple[type, type]]] = [
        (one.type_name, name, HEAD, (one.over_time.frame, one.over_time.summary))
        for name, one in tasks.items()
        if one.over_time
    ]
    return [*found, ("Chain", CHAIN, CHAIN_HEAD, (ChainFrame, DetectSummary))]
