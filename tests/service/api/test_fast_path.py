"""The fast path answers the tasks' POSTs as FastAPI would, and passes everything else on."""

from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.api.fast_path import FastPath
from service.api.middleware import Telemetry
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.images import plain

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "query", ["", "top_k=2", "top_k=9", "model=none", "top=1", "version=x", "top_k=2&top_k=3"]
)
async def test_it_answers_as_the_router_behind_it(repository: Path, query: str) -> None:
    settings = Settings(models=repository, threads=1)
    engine = Engine(settings)
    fast = create_app(engine, settings)
    routed = Telemetry(fast.fastapi, fast.services, fast.fastapi)
    answers = []
    async with fast.fastapi.router.lifespan_context(fast.fastapi):
        await engine.loaded.wait()
        for app in (fast, routed):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answer = await client.post(f"/v1/classify?{query}", content=plain("red"))
            answers.append((answer.status_code, answer.json() | {"request_id": ""}))
    assert answers[0] == answers[1]


async def test_what_is_no_post_of_a_task_passes_through(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path)
    services = create_app(Engine(settings), settings).services
    passed: list[tuple[str, str]] = []

    async def behind(scope: Scope, _: Receive, __: Send) -> None:
        passed.append((scope["method"], scope["path"]))

    async def nothing(*_: object) -> None:
        raise AssertionError("nothing is received or sent")

    path = FastPath(behind, services, [])
    for method, where in (
        ("GET", "/v1/classify"),
        ("POST", "/v1/video"),
        ("POST", "/v1/classify/"),
    ):
        await path({"type": "http", "method": method, "path": where}, nothing, nothing)  # type: ignore[arg-type]
    assert passed == [("GET", "/v1/classify"), ("POST", "/v1/video"), ("POST", "/v1/classify/")]


@pytest.mark.parametrize(
    "path", ["/v1/explain", "/v1/chain", "/v1/video", "/v1/classify", "/v1/vision/scene", "/health"]
)
async def test_no_route_takes_more_parameters_than_are_allowed(tmp_path: Path, path: str) -> None:
    """FastAPI makes a list of them all before it looks at one."""
    settings = Settings(models=tmp_path)
    transport = httpx.ASGITransport(create_app(Engine(settings), settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        most = await client.post(f"{path}?{'&'.join(['a=1'] * 1000)}", content=b"x")
        more = await client.post(f"{path}?{'&'.join(['a=1'] * 1001)}", content=b"x")
    assert "at most 1000" not in most.text
    assert more.status_code in {400, 422}
    assert "The query has 1001 parameters; at most 1000 are allowed" in more.text
