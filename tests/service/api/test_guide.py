"""`/docs/guide/`: the documentation where it is built, under a policy, and a word where it is not."""

import base64
import hashlib
from pathlib import Path

import httpx
import pytest

from service.api.guide import Site, digests_of
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.live import problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "decisions").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>Guide</h1><script>let here = 1</script>")
    (folder / "decisions" / "index.html").write_text("<h1>Decisions</h1>")
    (folder / "site.css").write_text("h1 { margin: 0 }")
    (tmp_path / "secret.html").write_text("not of the site")
    return folder


def client(tmp_path: Path, guide: Path) -> httpx.AsyncClient:
    settings = Settings(models=tmp_path, guide=guide)
    app = create_app(Engine(settings), settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_the_pages_are_served_under_one_address(tmp_path: Path, site: Path) -> None:
    async with client(tmp_path, site) as http:
        first = await http.get("/docs/guide")
        assert (first.status_code, first.headers["location"]) == (307, "guide/")
        assert "<h1>Guide</h1>" in (await http.get("/docs/guide/")).text
        assert "Decisions" in (await http.get("/docs/guide/decisions/index.html")).text
        styles = await http.get("/docs/guide/site.css")
        assert styles.headers["content-type"].startswith("text/css")
        api = (await http.get("/docs")).text
        assert "Swagger" in api
        assert '<html lang="en">' in api
        assert 'href="docs/guide/"' in (await http.get("/")).text


async def test_a_page_may_run_its_own_scripts_only(tmp_path: Path, site: Path) -> None:
    async with client(tmp_path, site) as http:
        page = await http.get("/docs/guide/")
    digest = base64.b64encode(hashlib.sha256(b"let here = 1").digest()).decode()
    policy = page.headers["content-security-policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")


async def test_a_page_is_hashed_once_and_again_when_it_is_another_file(site: Path) -> None:
    hashed = []

    def noted(page: Path) -> str:
        hashed.append(page.name)
        return digests_of(page)

    transport = httpx.ASGITransport(Site(site, noted))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        policies = {(await http.get("/")).headers["content-security-policy"] for _ in range(3)}
        assert (len(policies), hashed) == (1, ["index.html"])
        new = site / "new.html"
        new.write_text("<h1>Guide</h1><script>let here = 2</script>")
        new.replace(site / "index.html")
        page = await http.get("/")
    digest = base64.b64encode(hashlib.sha256(b"let here = 2").digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    assert hashed == ["index.html"] * 2


@pytest.mark.parametrize(
    "path", ["nothing.html", "..%2fsecret.html", "decisions", "%2e%2e/secret.html"]
)
async def test_what_is_no_page_is_not_found(tmp_path: Path, site: Path, path: str) -> None:
    async with client(tmp_path, site) as http:
        problem(await http.get(f"/docs/guide/{path}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/docs/guide", "/docs/guide/", "/docs/guide/tutorial.html"])
async def test_where_it_is_not_built_the_answer_says_how(tmp_path: Path, path: str) -> None:
    async with client(tmp_path, tmp_path / "nowhere") as http:
        answer = await http.get(path)
        problem(answer, 404, "not_found")
        assert "make docs" in answer.json()["detail"]
        assert "docs/guide" not in (await http.get("/")).text
