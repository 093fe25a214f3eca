"""The page's files: their types, their policy, and that an unchanged one is not sent again."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest

from service.api.routes.playground import FOLDER
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.live import problem

pytestmark = pytest.mark.anyio


def client(tmp_path: Path) -> httpx.AsyncClient:
    settings = Settings(models=tmp_path)
    app = create_app(Engine(settings), settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_every_file_is_served_with_its_type_under_a_strict_policy(tmp_path: Path) -> None:
    types = {
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
        ".webm": "video/webm",
        ".webp": "image/webp",
        ".webmanifest": "application/manifest+json",
    }
    async with client(tmp_path) as http:
        files = [file for file in FOLDER.rglob("*") if file.is_file() and file.suffix != ".html"]
        assert len(files) > 20
        for file in files:
            answer = await http.get(f"/playground/{file.relative_to(FOLDER).as_posix()}")
            assert answer.content == file.read_bytes()
            kind = answer.headers["content-type"].split(";")[0]
            assert kind == types.get(file.suffix, "image/jpeg")
        page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_every_file_of_the_page_is_part_of_the_installed_package() -> None:
    with (FOLDER.parents[1] / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["*"]
    files = [file.name for file in FOLDER.rglob("*") if file.is_file()]
    assert [name for name in files if not any(fnmatch(name, one) for one in patterns)] == []


async def test_an_unchanged_file_is_not_sent_again(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        first = await http.get("/")
        again = await http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_what_is_no_file_of_the_page_is_not_found(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        for path in ("/playground/nothing.js", "/playground/..%2fapp.py", "/playground/"):
            problem(await http.get(path), 404, "not_found")
