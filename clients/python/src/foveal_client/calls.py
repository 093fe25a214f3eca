"""What is sent and how its response is read, without sending it; both clients do that in their own way."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

import httpx

from foveal_client.bodies import FileBody, load
from foveal_client.cards import ModelStates
from foveal_client.errors import FovealError
from foveal_client.explanations import ExplainResponse
from foveal_client.types import ChainResult, Image, ServedStep, Video, VideoEvent

Result = TypeVar("Result")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """The result of one image, with the model and the version that made it."""

    model: str
    version: int
    result: Result
    request_id: str


@dataclass(frozen=True, slots=True)
class ChainedAnswer:
    """What a chain says of one image, with the models and versions of its steps."""

    chain: str
    steps: list[ServedStep]
    result: ChainResult
    request_id: str


@dataclass(frozen=True, slots=True)
class Call(Generic[Read]):
    """A request, and how its successful response is read."""

    path: str
    read: Callable[[httpx.Response], Read]
    options: Mapping[str, object] = field(default_factory=dict)
    image: Image | None = None
    method: str = "POST"
    accept: str = "*/*"
    streamed: bool = False

    @property
    def params(self) -> dict[str, Any]:
        return {name.rstrip("_"): value for name, value in self.options.items()}

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": self.accept}

    def load(self) -> bytes | FileBody | None:
        """Return the body, which no attempt changes."""
        return load(self.image, streamed=self.streamed)


Drawn = Literal["segment", "detect", "chain", "explain"]


def on_image(task: str, image: Image, options: Mapping[str, object]) -> Call[Answer[Any]]:
    return Call(f"/v1/{task}", _answer, options, image)


def drawn(task: Drawn, image: Image, form: str, options: Mapping[str, object]) -> Call[bytes]:
    return Call(
        f"/v1/{task}", lambda response: response.content, {**options, "format": form}, image
    )


def explained(image: Image, view: str, options: Mapping[str, object]) -> Call[ExplainResponse]:
    return Call(
        "/v1/explain",
        lambda response: cast("ExplainResponse", response.json()),
        {"view": view, **options},
        image,
    )


def chained(image: Image, options: Mapping[str, object]) -> Call[ChainedAnswer]:
    return Call("/v1/chain", _chained_answer, options, image)


def of_video(video: Video, options: Mapping[str, object]) -> Call[None]:
    accept = "application/x-ndjson"
    return Call("/v1/video", lambda _: None, options, video, accept=accept, streamed=True)


def models() -> Call[ModelStates]:
    return Call("/v1/models", lambda response: cast(ModelStates, response.json()), method="GET")


def event_of(line: str) -> VideoEvent:
    """Return the event of a line.

    Raises:
        FovealError: it says that the video can not go on.
    """
    event = json.loads(line)
    if event["event"] == "error":
        error = event["error"]
        raise FovealError(error["status"], error["code"], error["detail"])
    return cast(VideoEvent, event)


def headers_of(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _answer(response: httpx.Response) -> Answer[Any]:
    body = response.json()
    (result,) = body["results"]
    request_id = response.headers.get("X-Request-Id", "")
    return Answer(body["model"], body["version"], result, request_id)


def _chained_answer(response: httpx.Response) -> ChainedAnswer:
    body = response.json()
    (result,) = body["results"]
    request_id = response.headers.get("X-Request-Id", "")
    return ChainedAnswer(body["chain"], body["steps"], result, request_id)
