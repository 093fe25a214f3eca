"""What stands around every request: the guards, the record, and the last error handler."""

import logging
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware import LONGEST_PATH, Middleware, Telemetry, guarded
from service.api.record import RECORD_KEY
from service.app import create_app
from service.engine import Engine
from service.errors import NotReadyError, OverloadedError
from service.settings import Settings
from tests.guards import Guard, requests_to
from tests.live import problem

pytestmark = pytest.mark.anyio


def app_with(tmp_path: Path, *middleware: Middleware) -> Telemetry:
    settings = Settings(models=tmp_path)
    return create_app(Engine(settings), settings, middleware=middleware)


def client_of(app: Telemetry) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def receive_nothing() -> Message:
    raise AssertionError("nothing is sent to it")


async def send_nothing(_: Message) -> None:
    raise AssertionError("it answers nothing")


async def test_a_guard_sees_every_request_and_one_that_refuses_lets_none_through(
    tmp_path: Path,
) -> None:
    outer, inner = Guard(OverloadedError("Enough.")), Guard()
    app = app_with(tmp_path, outer, inner)
    expected = list(requests_to(app.fastapi))
    async with client_of(app) as http:
        for method, path in expected:
            answer = await http.send(
                httpx.Request(method, f"http://test{path}", content=b"an image")
            )
            assert answer.status_code == 503, (method, path)
            assert answer.headers["x-request-id"], (method, path)
    slashed, plain = "/v1/classify/", "/v1/classify"  # guards see the path that answers
    assert outer.seen == [(method, plain if path == slashed else path) for method, path in expected]
    assert inner.seen == []


def test_the_requests_that_guards_are_tested_with_cover_the_app(tmp_path: Path) -> None:
    app = app_with(tmp_path)
    paths = {path for _, path in requests_to(app.fastapi)}
    assert {"/v1/classify", "/v1/segment", "/v1/detect", "/v1/embed", "/v1/video"} <= paths
    assert {"/", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css"} <= paths
    assert {"/v1/models/name", "/health/live", "/metrics", "/playground/main.js"} <= paths


async def test_a_response_whose_headers_can_not_be_made_is_answered_all_the_same(
    tmp_path: Path,
) -> None:
    def spoiling(app: ASGIApp) -> ASGIApp:
        async def spoil(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope[RECORD_KEY].traces = ["no trace"]
            await app(scope, receive, send)

        return spoil

    async with client_of(app_with(tmp_path, spoiling)) as http:
        answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


async def test_a_guard_that_passes_everything_on_changes_nothing(tmp_path: Path) -> None:
    guard = Guard()
    plain, with_guard = app_with(tmp_path), app_with(tmp_path, guard)
    async with client_of(plain) as first, client_of(with_guard) as second:
        for path in ("/", "/docs", "/docs/assets/swagger-ui.css", "/health/live", "/nothing"):
            expected, answer = await first.get(path), await second.get(path)
            assert answer.status_code == expected.status_code
            if "request_id" not in expected.text:
                assert answer.content == expected.content
    assert len(guard.seen) == 5


async def test_the_first_guard_of_the_list_is_outermost() -> None:
    order: list[str] = []

    def named(name: str) -> Middleware:
        def around(app: ASGIApp) -> ASGIApp:
            async def guard(scope: Scope, receive: Receive, send: Send) -> None:
                order.append(name)
                await app(scope, receive, send)

            return guard

        return around

    async def innermost(_: Scope, __: Receive, ___: Send) -> None:
        order.append("app")

    app = guarded(innermost, [named("first"), named("second")])
    await app({"type": "http"}, receive_nothing, send_nothing)
    assert order == ["first", "second", "app"]


@pytest.mark.parametrize(
    "path",
    ["/v1/explain%0a", "/v1/models/colors/filters%0A", "/metrics%0a", "/v1/classify%0a/", "/health/live%00",
     "/v1/cla%0dssify", "/v2/models/colors/infer%0a", "/%7f", "/playground/%1b"],
)  # fmt: skip
async def test_no_path_with_a_control_character_reaches_a_guard_or_a_route(
    tmp_path: Path, path: str
) -> None:
    guard = Guard()
    async with client_of(app_with(tmp_path, guard)) as http:
        for method in ("GET", "POST"):
            answer = await http.request(method, path)
            assert answer.status_code == 404
            assert "control character" in answer.text
    assert guard.seen == []


async def test_the_log_repeats_so_much_of_a_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(app_with(tmp_path, Guard(NotReadyError("Not now.")))) as http:
        with caplog.at_level(logging.INFO, "foveal.request"):
            await http.get("/" + "a" * 60_000)
    path = "/" + "a" * (LONGEST_PATH - 1)
    assert [record.getMessage() for record in caplog.records] == [f"GET {path} 503"]


async def test_a_refusal_is_a_problem_and_has_its_id_metrics_and_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(tmp_path, Guard(NotReadyError("Not now.")))
    async with client_of(app) as http:
        with caplog.at_level(logging.INFO, "foveal.request"):
            answer = await http.post("/v1/classify", headers={"X-Request-ID": "mine"})
    assert problem(answer, 503, "model_not_ready") == "Not now."
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["retry-after"] == "1"
    assert "total;dur=" in answer.headers["server-timing"]
    assert [record.getMessage() for record in caplog.records] == ["POST /v1/classify 503"]
    sample = app.services.metrics.registry.get_sample_value
    labels = {"route": "unmatched", "model": "", "version": "", "status": "503"}
    assert sample("foveal_requests_total", labels) == 1
    assert sample("foveal_errors_total", {"route": "unmatched", "code": "model_not_ready"}) == 1
    assert sample("foveal_requests_in_flight") == 0


async def test_a_guard_may_send_a_response_of_its_own_without_headers(tmp_path: Path) -> None:
    def refuse(_: ASGIApp) -> ASGIApp:
        async def guard(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 401})
            await send({"type": "http.response.body", "body": b"no"})

        return guard

    async with client_of(app_with(tmp_path, refuse)) as http:
        answer = await http.get("/v1/models")
    assert (answer.status_code, answer.content) == (401, b"no")
    assert len(answer.headers["x-request-id"]) == 32


async def test_an_error_after_the_response_began_sends_no_second_one(tmp_path: Path) -> None:
    sent: list[str] = []

    def late(_: ASGIApp) -> ASGIApp:
        async def guard(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise OverloadedError("Too late.")

        return guard

    async def send(message: Message) -> None:
        sent.append(str(message["type"]))

    app = app_with(tmp_path, late)
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await app(scope, receive_nothing, send)
    assert sent == ["http.response.start"]
    sample = app.services.metrics.registry.get_sample_value
    assert sample("foveal_errors_total", {"route": "unmatched", "code": "overloaded"}) == 1


@pytest.mark.parametrize(
    ("given", "repeated"),
    [("a-b.c", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)],
)
async def test_a_clients_id_is_repeated_where_it_is_safe(
    tmp_path: Path, given: str, *, repeated: bool
) -> None:
    async with client_of(app_with(tmp_path)) as http:
        answer = await http.get("/health/live", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) == repeated


async def test_an_uncaught_fault_is_a_500_with_the_id_that_leads_to_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise ZeroDivisionError("a secret of ours")

    app = app_with(tmp_path)
    app.fastapi.add_api_route("/fault", fault)
    async with client_of(app) as http:
        with caplog.at_level(logging.ERROR, "foveal.request"):
            response = await http.get("/fault")
    assert "secret" not in problem(response, 500, "internal_error")
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.exc_info is not None
    sample = app.services.metrics.registry.get_sample_value
    labels = {"route": "/fault", "model": "", "version": "", "status": "500"}
    assert sample("foveal_requests_total", labels) == 1
    assert sample("foveal_requests_in_flight") == 0


async def test_what_a_request_holds_is_released_before_its_response_and_at_its_end_without_one(
    tmp_path: Path,
) -> None:
    held_at_start: list[int] = []

    def hold(_: ASGIApp) -> ASGIApp:
        async def guard(scope: Scope, _: Receive, send: Send) -> None:
            admission = app.services.admission
            scope["foveal.record"].release_with_response(admission.hold(1000))
            assert admission.held_bytes == 1000
            if scope["path"] == "/answered":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                held_at_start.append(admission.held_bytes)

        return guard

    async def send(_: Message) -> None:
        held_at_start.append(app.services.admission.held_bytes)

    app = app_with(tmp_path, hold)
    for path in ("/answered", "/silent"):
        scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        await app(scope, receive_nothing, send)
        assert app.services.admission.held_bytes == 0
    assert held_at_start == [0, 0]
