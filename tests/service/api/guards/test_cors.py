"""Pages of other sites: none may read an answer, but those that are listed."""

from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.keys import write_keys
from tests.live import problem

pytestmark = pytest.mark.anyio

SITE = "https://app.example.org"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-timeout-ms",
}


async def send(
    tmp_path: Path, method: str, origin: str, headers: dict[str, str], **settings: object
) -> httpx.Response:
    chosen = Settings.model_validate({"models": tmp_path, **settings})
    transport = httpx.ASGITransport(create_app(Engine(chosen), chosen))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.request(method, "/v1/classify", headers={"Origin": origin, **headers})


async def test_by_default_no_answer_is_for_another_site(tmp_path: Path) -> None:
    for method, headers in (("POST", {}), ("OPTIONS", PREFLIGHT)):
        answer = await send(tmp_path, method, SITE, headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_listed_site_may_ask_and_read_even_a_refusal(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    settings = {"cors_origins": [SITE], "keys": keys, "rate_limit_per_address": "5/hour"}
    answer = await send(tmp_path, "OPTIONS", SITE, PREFLIGHT, **settings)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "ratelimit" not in answer.headers  # it is not counted
    refused = await send(tmp_path, "POST", SITE, {}, **settings)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == SITE
    assert "RateLimit" in refused.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in refused.headers


@pytest.mark.parametrize(
    ("origin", "headers", "refused"),
    [
        ("https://evil.example", PREFLIGHT, "origin"),
        (SITE, {"Access-Control-Request-Method": "PATCH"}, "method"),
        (SITE, {**PREFLIGHT, "Access-Control-Request-Headers": "x-other"}, "headers"),
        (SITE, {**PREFLIGHT, "Access-Control-Request-Private-Network": "true"}, "private-network"),
    ],
)
async def test_a_refused_preflight_is_a_problem_with_a_code_and_an_id(
    tmp_path: Path, origin: str, headers: dict[str, str], refused: str
) -> None:
    answer = await send(tmp_path, "OPTIONS", origin, headers, cors_origins=[SITE])
    assert f"(refused: {refused})" in problem(answer, 400, "cors_refused")
    assert "Origin" in answer.headers["vary"]
    assert ("access-control-allow-origin" in answer.headers) is (origin == SITE)


@pytest.mark.parametrize("origin", ["https://evil.example", f"{SITE}.evil.example", "null"])
async def test_a_site_that_is_not_listed_may_read_nothing(tmp_path: Path, origin: str) -> None:
    for method, headers in (("POST", {}), ("OPTIONS", PREFLIGHT)):
        answer = await send(tmp_path, method, origin, headers, cors_origins=[SITE])
        assert "access-control-allow-origin" not in answer.headers
