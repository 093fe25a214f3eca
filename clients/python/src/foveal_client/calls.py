"""What is sent and how its response is read, without sending it; both clients do that in their own way."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import httpx

from foveal_client.errors import FovealError
from foveal_client.types import Image, ModelStates, Video, VideoEvent

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
class Call(Generic[Read]):
    """A request, and how its successful response is read."""

    path: str
    read: Callable[[httpx.Response], Read]
    options: Mapping[str, object] = field(default_factory=dict)
    image: Image | None = None
    method: str = "POST"
    accept: str = "*/*"

    @property
    def params(self) -> dict[str, Any]:
        return {name.rstrip("_"): value for name, value in self.options.items()}

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": self.accept}


Drawn = Literal["segment", "detect", "chain", "explain"]


def on_image(task: str, image: Image, options: Mapping[str, object]) -> Call[Answer[Any]]:
    return Call(f"/v1/{task}", _answer, options, image)


def drawn(task: Drawn, image: Image, form: str, options: Mapping[str, object]) -> Call[bytes]:
    return Call(
        f"/v1/{task}", lambda response: response.content, {**options, "format": form}, image
    )


def explained(image: Image, options: Mapping[str, object]) -> Call[dict[str, Any]]:
    return Call(
        "/v1/explain", lambda response: cast("dict[str, Any]", response.json()), options, image
    )


def of_video(video: Video, options: Mapping[str, object]) -> Call[None]:
    return Call("/v1/video", lambda _: None, options, video, accept="application/x-ndjson")


def models() -> Call[ModelStates]:
    return Call("/v1/models", lambda response: cast(ModelStates, response.json()), method="GET")


def load(image: Image | None) -> bytes | None:
    """Return the bytes of an image or a video."""
    return image if image is None or isinstance(image, bytes) else Path(image).read_bytes()


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
