"""The table of paths that protocols share: what it answers, refuses, passes on and lets be shed."""

import json
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import pytest
from fastapi import Response
from starlette.types import Message, Receive, Scope, Send

from service.api.deps import Services
from service.api.protocol import Call, Endpoint, Protocol, Protocols, json_answer
from service.api.record import RECORD_KEY, RequestRecord
from service.app import create_app
from service.engine import Engine
from service.errors import OverloadedError
from service.settings import Settings
from tests.servables import write_servable

pytestmark = pytest.mark.anyio


class FullQueue:
    def room(self) -> int:
        return 0


QUEUE = FullQueue()


async def shown(call: Call) -> Response:
    return json_answer({"model": call.model, "version": call.version})


async def refused(call: Call) -> Response:
    call.record.model = "colors"
    error = OverloadedError("The queue for colors is full.")
    error.room = WeakMethod(QUEUE.room)
    raise error


PROTOCOL = Protocol(
    "test",
    {
        "/v1/vision/{model}": Endpoint("POST", shown),
        "/v1/vision/{model}/versions/{version}": Endpoint("GET", shown),
        "/v1/vision/a/full": Endpoint("POST", refused, sheds=True),
        "/v1/vision/a/any": Endpoint("POST", refused),
    },
    ("/v1/vision",),
)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    write_servable(tmp_path)
    settings = Settings(models=tmp_path)
    return create_app(Engine(settings), settings).services


async def ask(services: Services, path: str, method: str = "POST") -> tuple[int, Any, Scope]:
    """Return the status, the body and the scope of a request; 0 where it was passed on."""
    sent: list[Message] = []

    async def beyond(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 0, "headers": []})
        await send({"type": "http.response.body", "body": b"null"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        RECORD_KEY: RequestRecord("an-id"),
    }
    await Protocols(beyond, services, [PROTOCOL])(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"]), scope


async def test_a_path_has_its_parts_and_is_counted_under_its_template(services: Services) -> None:
    status, body, scope = await ask(services, "/v1/vision/colors")
    assert (status, body) == (200, {"model": "colors", "version": None})
    assert scope["route"].path == "/v1/vision/{model}"
    _, body, scope = await ask(services, "/v1/vision/colors/versions/12", "GET")
    assert body == {"model": "colors", "version": 12}
    assert scope["route"].path == "/v1/vision/{model}/versions/{version}"


@pytest.mark.parametrize("path", ["/v1/visions", "/v1", "/", "/v1/models/colors", "/v1/VISION/a"])
async def test_other_paths_are_passed_on(services: Services, path: str) -> None:
    assert (await ask(services, path))[0] == 0


@pytest.mark.parametrize("path", ["/v1/vision", "/v1/vision/", "/v1/vision/a/b/c"])
async def test_below_a_prefix_there_is_nothing_else(services: Services, path: str) -> None:
    status, body, _ = await ask(services, path)
    assert (status, body["success"]) == (404, False)
    assert f"There is nothing at {path}" in body["error"]


async def test_another_method_is_refused(services: Services) -> None:
    status, body, _ = await ask(services, "/v1/vision/a", "PUT")
    assert status == 405
    assert "takes POST, not PUT" in body["error"]


async def test_a_full_queue_is_remembered_where_the_path_alone_decides(services: Services) -> None:
    status, body, scope = await ask(services, "/v1/vision/a/any")
    assert (status, services.shedding.targets) == (503, 0)
    status, body, scope = await ask(services, "/v1/vision/a/full")
    assert (status, services.shedding.targets) == (503, 1)
    assert body == {"success": False, "error": "The queue for colors is full.", "code": 503}
    assert scope[RECORD_KEY].error_code == "overloaded"
