"""Names of hosts that are listed, in all their spellings."""

from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.live import problem

pytestmark = pytest.mark.anyio

HOSTS = ["vision.example.org", "*.lan", "[::1]", "10.0.0.1"]


async def get(tmp_path: Path, path: str, host: str, **settings: object) -> httpx.Response:
    chosen = Settings.model_validate({"models": tmp_path, "allowed_hosts": HOSTS, **settings})
    transport = httpx.ASGITransport(create_app(Engine(chosen), chosen))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get(f"http://test{path}", headers={"Host": host})


@pytest.mark.parametrize(
    "host",
    [
        "vision.example.org",
        "VISION.Example.org:8000",
        "vision.example.org.",
        "vision.example.org.:8000",
        "a.lan.",
        "a.lan",
        "a.b.lan:1",
        "[::1]",
        "[::1]:8000",
        "10.0.0.1:80",
    ],
)
async def test_listed_names_are_answered(tmp_path: Path, host: str) -> None:
    assert (await get(tmp_path, "/v1/models", host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "lan",
        ".lan",
        ".",
        "..lan.",
        "vision.example.org..",
        "vision.example.org.evil.example.",
        "evillan",
        "vision.example.org.evil.example",
        "vision.example.org@evil.example",
        "evil.example:8000:vision.example.org",
        "10.0.0.11",
        "[::2]",
    ],
)
async def test_other_names_are_refused_for_pages_too(tmp_path: Path, host: str) -> None:
    for path in ("/v1/models", "/", "/docs"):
        detail = problem(await get(tmp_path, path, host), 421, "unknown_host")
        assert "FOVEAL_ALLOWED_HOSTS" in detail
    assert (await get(tmp_path, "/health/live", host)).status_code == 200


@pytest.mark.parametrize("path", ["/docs/", "/v1/models/", "/docs/assets", "//evil.example/docs"])
async def test_nothing_redirects_to_the_host_that_a_client_names(tmp_path: Path, path: str) -> None:
    answer = await get(tmp_path, path, "evil.example", allowed_hosts=[])
    assert "evil" not in answer.headers.get("location", "")
