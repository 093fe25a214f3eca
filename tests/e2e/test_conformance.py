"""Every response is what the published document says: the tasks, their renderings, videos, explanations, errors."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.tasks.tasks import TASKS
from tests.clips import counting
from tests.images import photograph
from tests.live import Live, serve

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
MODELS = {
    "classify": ("efficientnet-lite0", "lenet5"),
    "detect": ("ssdlite-mobilenet-v2",),
    "segment": ("u2netp", "unet-digits"),
    "embed": ("efficientnet-lite0", "u2netp", "glance"),
}
OPTIONS = {
    "classify": ("", "top_k=3"),
    "detect": ("", "box_format=xywh", "box_format=cxcywh&normalized=true", "nms=soft"),
    "segment": ("", "polygons=true"),
    "embed": ("",),
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
RENDERED = [
    (name, form, media_type)
    for name, task in TASKS.items()
    if task.head
    for form, rendering in task.renderings.items()
    for media_type in rendering.media_types
]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def document(live: Live) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{live.url}/openapi.json").json()
    return found


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=60) as opened:
        yield opened


def check(
    document: dict[str, Any], path: str, response: httpx.Response, method: str = "post"
) -> None:
    """Hold a JSON response against the schema that the document gives for its status and media type."""
    media_type = response.headers["content-type"].split(";")[0]
    content = document["paths"][path][method]["responses"][str(response.status_code)]["content"]
    conform(document, content[media_type]["schema"], response.json())


def conform(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    jsonschema_rs.validate({**schema, "components": document["components"]}, value)


def test_the_committed_document_is_the_served_one(document: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == document, "make reference writes it anew"


@pytest.mark.parametrize(
    ("task", "model", "options"),
    [(task, model, one) for task in OPTIONS for model in MODELS[task] for one in OPTIONS[task]],
)
def test_every_result_of_every_task_has_its_schema(
    client: httpx.Client, document: dict[str, Any], task: str, model: str, options: str
) -> None:
    files = [("file", photograph("coffee")), ("file", b"none"), ("file", photograph("astronaut"))]
    response = client.post(f"/v1/{task}?model={model}&{options}", files=files)
    assert response.status_code == 200
    assert "error" in response.json()["results"][1]
    check(document, f"/v1/{task}", response)


@pytest.mark.parametrize(("task", "form", "media_type"), RENDERED)
def test_every_rendering_has_the_media_type_that_is_documented(
    client: httpx.Client, document: dict[str, Any], task: str, form: str, media_type: str
) -> None:
    response = client.post(
        f"/v1/{task}?format={form}",
        content=photograph("coffee"),
        headers={"Accept": media_type},
    )
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert media_type in document["paths"][f"/v1/{task}"]["post"]["responses"]["200"]["content"]
    if media_type.startswith("image/"):
        assert Image.open(BytesIO(response.content)).size == (600, 400)


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.over_time])
@pytest.mark.parametrize(
    "accept", ["application/json", "application/x-ndjson", "text/event-stream"]
)
def test_every_event_of_every_video_has_its_schema(
    client: httpx.Client, document: dict[str, Any], task: str, accept: str
) -> None:
    query = "fps=6" if task == "temporal" else "max_frames=3"
    response = client.post(
        f"/v1/video?task={task}&{query}",
        content=counting(100, "mp4", "h264"),
        headers={"Accept": accept},
    )
    assert (response.status_code, response.headers["content-type"]) == (200, accept)
    if accept == "application/json":
        check(document, "/v1/video", response)
        return
    content = document["paths"]["/v1/video"]["post"]["responses"]["200"]["content"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "summary"]
    for event in events:
        conform(document, content[accept]["schema"], event)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/classify", b"", 400),
        ("/v1/classify?model=none", b"x", 404),
        ("/v1/classify", b"no image", 415),
        ("/v1/classify?top_k=0", b"x", 422),
        ("/v1/video", b"no video", 415),
        ("/v1/explain?view=none", b"x", 422),
    ],
)
def test_every_error_is_a_problem_as_documented(
    client: httpx.Client, document: dict[str, Any], path: str, body: bytes, status: int
) -> None:
    response = client.post(path, content=body)
    assert response.status_code == status
    check(document, path.partition("?")[0], response)


def test_the_lists_of_models_have_their_schemas(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    check(document, "/v1/models", client.get("/v1/models"), "get")
    check(document, "/v1/models/{name}", client.get("/v1/models/lenet5"), "get")
    check(document, "/v1/models/{name}", client.get("/v1/models/none"), "get")


OPERATIONS = [
    (path, method)
    for path, operations in json.loads(COMMITTED.read_text())["paths"].items()
    for method in operations
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_schemathesis_finds_nothing(live: Live, path: str, method: str) -> None:
    """Requests made from the document, valid and not, get the responses that the document describes."""
    operation = schemathesis.openapi.from_url(f"{live.url}/openapi.json")[path][method]

    @settings(
        max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy())
    def answers_as_described(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    answers_as_described()
