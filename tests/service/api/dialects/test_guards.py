"""Keys, scopes, limits, deadlines and shedding hold for every protocol as for `/v1`, each in its own form."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import httpx
import pytest

from service.api.guards.keys import presented_keys
from service.api.record import RequestRecord
from service.errors import OverloadedError
from tests.finders import data_url, plain
from tests.keys import bearer, key_of, write_keys
from tests.live import Live, serve

IMAGE = plain((230, 128, 0))
B64 = base64.b64encode(IMAGE).decode()
CONFIG = (
    '<View><Image name="i" value="$image"/><Choices name="c" toName="i">'
    '<Choice value="red"/></Choices></View>'
)
V2 = {
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [B64]}],
    "outputs": [{"name": "logits"}],
}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/vision/detection": {"files": {"image": IMAGE}},
    "/v1/models/colors:predict": {"json": {"instances": [{"b64": B64}]}},
    "/kserve/v1/models/colors:predict": {"json": {"instances": [{"b64": B64}]}},
    "/x-anylabeling/v1/predict": {"json": {"model": "finder", "image": data_url(IMAGE)}},
    "/label-studio/predict": {
        "json": {"tasks": [{"data": {"image": data_url(IMAGE)}}], "label_config": CONFIG}
    },
    "/v2/models/colors/infer": {"json": V2},
}
PATHS = list(REQUESTS)


def text_of(answer: httpx.Response, path: str, status: int) -> str:
    """Assert that an error has the form of the path's protocol, and return its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    if path.startswith("/x-anylabeling"):
        assert body["success"] is False
        assert set(body["error"]) == {"code", "message"}
        return str(body["error"]["message"])
    wanted = {"success", "error", "code"} if path.startswith("/v1/vision") else {"error"}
    assert set(body) == wanted
    return str(body["error"])


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.fixture(scope="module")
def guarded(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    keys = write_keys(tmp_path_factory.mktemp("keys") / "keys.toml")
    limits: dict[str, Any] = {"max_body_bytes": 20_000, "keys": keys}
    with serve(models=zoo, **limits) as live, httpx.Client(base_url=live.url) as http:
        yield http


@pytest.mark.parametrize("path", PATHS)
def test_a_key_with_the_scope_infer_is_needed(guarded: httpx.Client, path: str) -> None:
    given = REQUESTS[path]
    missing = guarded.post(path, **given)
    assert "needs an API key" in text_of(missing, path, 401)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert "not valid" in text_of(guarded.post(path, **given, headers=basic("a", "no")), path, 401)
    assert "scope infer" in text_of(guarded.post(path, **given, headers=bearer("eve")), path, 403)
    for headers in (bearer("ada"), basic("ada", key_of("ada")), basic(key_of("ada"), "")):
        assert guarded.post(path, **given, headers=headers).status_code == 200


def test_each_client_sends_its_key_where_it_can(guarded: httpx.Client) -> None:
    models = "/x-anylabeling/v1/models"
    assert guarded.get(models, headers={"Token": key_of("ada")}).status_code == 200
    assert "needs an API key" in text_of(guarded.get(models, headers={"Token": ""}), models, 401)
    health = "/label-studio/health"
    assert guarded.get(health, headers=basic("label-studio", key_of("ada"))).status_code == 200
    assert text_of(guarded.get(health), health, 401)
    for headers in (basic("ada", key_of("ada")), {"Token": key_of("ada")}):
        answer = guarded.post("/v1/classify", content=IMAGE, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Basic OmtleQ==", {b"key"}),
        (b"basic dXNlcjprZXk=", {b"key"}),
        (b"Basic dXNlcjprOmV5", {b"k:ey"}),
        (b"Basic a2V5", {b"key"}),
        (b"Basic a2V5Og==", {b"key"}),
        (b"Basic Og==", set()),
        (b"Basic !", set()),
        (b"Basic ", set()),
        (b"Basic x", set()),
    ],
)
def test_the_password_of_basic_credentials(value: bytes, found: set[bytes]) -> None:
    scope = {"path": "/label-studio/health", "headers": [(b"authorization", value)]}
    assert presented_keys(scope) == found
    assert presented_keys({**scope, "path": "/v1/classify"}) == set()


@pytest.mark.parametrize("path", PATHS)
def test_a_body_over_the_limit_is_refused(guarded: httpx.Client, path: str) -> None:
    answer = guarded.post(path, content=b" " * 30_000, headers=bearer("ada"))
    assert "larger than the" in text_of(answer, path, 413)


@pytest.mark.parametrize("path", PATHS)
def test_the_deadline_holds(guarded: httpx.Client, path: str) -> None:
    late = {**bearer("ada"), "X-Timeout-Ms": "0.001"}
    status = 503 if path.startswith("/v2") else 504
    assert "within 0.001 ms" in text_of(
        guarded.post(path, **REQUESTS[path], headers=late), path, status
    )
    odd = {**bearer("ada"), "X-Timeout-Ms": "soon"}
    assert "X-Timeout-Ms" in text_of(guarded.post(path, **REQUESTS[path], headers=odd), path, 400)


def test_limits_of_requests_count_for_all_protocols_together(zoo: Path) -> None:
    with (
        serve(models=zoo, rate_limit_per_address="3/hour") as live,
        httpx.Client(base_url=live.url) as http,
    ):
        for path in PATHS[:3]:
            assert http.post(path, **REQUESTS[path]).status_code == 200
        for path in PATHS:
            answer = http.post(path, **REQUESTS[path])
            assert "More than 3 requests" in text_of(answer, path, 429)
            assert int(answer.headers["retry-after"]) > 0


class FullQueue:
    """A queue that never has room."""

    def room(self) -> int:
        return 0


def test_what_is_shed_has_the_form_of_its_protocol(zoo: Path) -> None:
    queue, error = FullQueue(), OverloadedError("256 images wait: 100 %.")
    error.room = WeakMethod(queue.room)
    with serve(models=zoo) as live, httpx.Client(base_url=live.url) as http:
        for path in PATHS:
            target = {"path": path, "raw_path": path.encode(), "query_string": b""}
            live.services.shedding.note(
                target, RequestRecord("mine", route=path, model="colors"), error
            )
            for sent in ({}, {"X-Request-ID": "mine"}):
                answer = http.post(path, **REQUESTS[path], headers=sent)
                assert "256 images wait: 100 %." in text_of(answer, path, 503)
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["x-request-id"] == sent.get(
                    "X-Request-ID", answer.headers["x-request-id"]
                )


def test_a_full_queue_is_refused_in_the_protocols_form(zoo: Path) -> None:
    """Two images for a queue of one; where the path alone decides, the next request is shed."""
    with serve(models=zoo, queue_size=1) as live, httpx.Client(base_url=live.url) as http:
        path = "/label-studio/predict"
        [task] = REQUESTS[path]["json"]["tasks"]
        given = {**REQUESTS[path]["json"], "tasks": [task, task]}
        assert "queue" in text_of(http.post(path, json=given), path, 503)
        assert live.services.shedding.targets == 0


@pytest.mark.parametrize("dialects", [[], ["deepstack"]])
def test_a_protocol_that_is_off_is_not_there(zoo: Path, dialects: list[str]) -> None:
    with serve(models=zoo, dialects=dialects) as live, httpx.Client(base_url=live.url) as http:
        for path in PATHS[:-1]:
            on = bool(dialects) and path.startswith("/v1/vision")
            status = http.post(path, **REQUESTS[path]).status_code
            assert (status == 200) == on
            assert on or status in {404, 405}


def test_the_share_of_a_queue_counts(zoo: Path) -> None:
    """A request that is alone is never refused; its images are counted while it runs, and no longer."""
    with serve(models=zoo, queue_share=0.01) as live, httpx.Client(base_url=live.url) as http:
        for path in PATHS:
            for _ in range(2):
                assert http.post(path, **REQUESTS[path]).status_code == 200


def sample(live: Live, route: str) -> float:
    return live.sample("foveal_requests_total", route=route, model="colors", status="200")


def test_requests_are_counted_under_their_templates(spoken: Live) -> None:
    route = "/v1/models/{model}:predict"
    before = sample(spoken, route)
    path = "/v1/models/colors:predict"
    assert httpx.post(f"{spoken.url}{path}", **REQUESTS[path]).status_code == 200
    assert sample(spoken, route) == before + 1
