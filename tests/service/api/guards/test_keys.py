"""Which key opens which path: every path of the app with every key."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.api.guards.scopes import changes_models
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.guards import requests_to
from tests.keys import KEYS, bearer, key_of, write_keys
from tests.live import problem

pytestmark = pytest.mark.anyio

OPEN = {"/", "/docs", "/docs/guide", "/openapi.json", "/docs/assets/swagger-ui.css"}
SCOPES = {
    "/v1/classify": {"infer"},
    "/v1/segment": {"infer"},
    "/v1/detect": {"infer"},
    "/v1/embed": {"infer"},
    "/v1/video": {"infer"},
    "/v1/chain": {"infer"},
    "/v1/explain": {"explain"},
    "/v1/models": {"infer", "explain", "admin"},
    "/v1/models/name": {"infer", "explain", "admin"},
    "/v1/models/name/filters": {"explain"},
    "/v1/models/name/versions/version": {"infer", "explain", "admin"},
    "/v1/models/name/aliases/alias": {"infer", "explain", "admin"},
    "/v1/models/name/weights": {"infer", "explain", "admin"},
    "/v1/models/name/shadow": {"infer", "explain", "admin"},
    "/v1/admin/reload": {"admin"},
    "/metrics": {"metrics"},
}
"""Of each documented path, by hand: of these a key needs one."""
READS = {"GET", "HEAD"}


def client_of(
    tmp_path: Path, *, keys: bool = True, **settings: object
) -> tuple[httpx.AsyncClient, FastAPI]:
    given = {"keys": write_keys(tmp_path / "keys.toml")} if keys else {}
    chosen = Settings.model_validate({"models": tmp_path, **given, **settings})
    app = create_app(Engine(chosen), chosen)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    return http, app.fastapi


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(("/health/", "/playground/", "/docs/guide/"))


async def test_the_document_names_the_operations_that_need_no_key(tmp_path: Path) -> None:
    http, app = client_of(tmp_path)
    async with http:
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                url = f"http://test{path.replace('{name}', 'name')}"
                answer = await http.send(httpx.Request(method, url, content=b"image"))
                needs_key = operation.get("security") != []
                assert (answer.status_code == 401) is needs_key, (method, path)


async def test_without_a_key_only_pages_and_health_are_open(tmp_path: Path) -> None:
    http, app = client_of(tmp_path)
    async with http:
        for method, path in requests_to(app):
            answer = await http.send(httpx.Request(method, f"http://test{path}", content=b"image"))
            if is_open(path):
                assert answer.status_code != 401, (method, path)
                continue
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="foveal"'
            if method != "HEAD":
                assert "Authorization: Bearer" in problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_may_what_its_scopes_say_and_nothing_else(tmp_path: Path, name: str) -> None:
    http, app = client_of(tmp_path, admin=True)
    async with http:
        for method, path in requests_to(app):
            if is_open(path):
                continue
            needed = SCOPES.get(path, {"admin"})
            if path in {"/v1/nothing", "/v1/classify/"}:
                needed = {"infer"}  # where a task from outside the package would be; a task
            if path.startswith("/v1/models") and method not in READS:
                needed = {"admin"}
            request = httpx.Request(
                method, f"http://test{path}", headers=bearer(name), content=b"x"
            )
            answer = await http.send(request)
            allowed = bool(needed & set(KEYS[name]))
            assert (answer.status_code not in {401, 403}) == allowed, (
                method,
                path,
                answer.status_code,
            )
            if not allowed:
                assert answer.status_code == 403
                scopes = " ".join(sorted(needed))
                assert answer.headers["www-authenticate"] == (
                    f'Bearer realm="foveal", error="insufficient_scope", scope="{scopes}"'
                )


async def test_every_call_that_changes_models_needs_the_setting_too(tmp_path: Path) -> None:
    http, app = client_of(tmp_path)
    places = {"{name}": "colors", "{version}": "1", "{alias}": "stable"}
    calls = [("POST", f"/v2/repository/models/colors/{what}") for what in ("load", "unload")]
    for path, operations in app.openapi()["paths"].items():
        for place, name in places.items():
            path = path.replace(place, name)  # noqa: PLW2901  # an example of it
        calls += [(one, path) for one in operations if changes_models(one.upper(), path)]
    assert len(calls) >= 10
    async with http:
        for method, path in calls:
            answer = await http.request(method, path, headers=bearer("root"))
            assert answer.status_code == 403, (method, path)
            assert "FOVEAL_ADMIN" in answer.text, (method, path)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/v1/administer", "infer"),
        ("/v1/admin_areas", "infer"),
        ("/v1/admin", "admin"),
        ("/v1/admin/", "admin"),
        ("/v1/admin/load", "admin"),
    ],
)
async def test_a_task_may_have_a_name_that_begins_with_admin(
    tmp_path: Path, path: str, scope: str
) -> None:
    http, _ = client_of(tmp_path)
    async with http:
        for name, scopes in KEYS.items():
            answer = await http.post(path, headers=bearer(name))
            assert answer.status_code == (404 if scope in scopes else 403), name


@pytest.mark.parametrize("name", KEYS)
async def test_a_line_feed_behind_a_path_opens_it_to_no_key(tmp_path: Path, name: str) -> None:
    http, app = client_of(tmp_path, admin=True)
    async with http:
        for method, path in requests_to(app):
            request = httpx.Request(method, f"http://test{path}%0a", headers=bearer(name))
            assert (await http.send(request)).status_code == 404, (method, path)


def test_every_documented_path_has_its_scopes_here(tmp_path: Path) -> None:
    _, app = client_of(tmp_path)
    documented = {path.replace("{", "").replace("}", "") for path in app.openapi()["paths"]}
    assert {path for path in documented if not is_open(path)} == set(SCOPES)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {key_of('ada')}"},
        {"Authorization": f"bearer  {key_of('ada')} "},
        {"X-API-Key": key_of("ada")},
        {"X-API-Key": key_of("ada"), "Authorization": f"Bearer {key_of('ada')}"},
        {"X-API-Key": key_of("ada"), "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_a_key_comes_in_either_header(tmp_path: Path, headers: dict[str, str]) -> None:
    http, _ = client_of(tmp_path)
    async with http:
        assert (await http.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {key_of('ada')}"},
        {"Authorization": key_of("ada")},
        {"X-API-Key": ""},
        {"X-API-Key": f"Bearer {key_of('ada')}"},
        {"X-API-Key": "x" * 60_000},
        {"X-API-Key": key_of("ada"), "Authorization": f"Bearer {key_of('root')}"},
        {"Cookie": f"key={key_of('ada')}"},
    ],
)
async def test_what_is_no_valid_key_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    http, _ = client_of(tmp_path)
    async with http:
        answer = await http.get("/v1/models", headers=headers)
    problem(answer, 401, "unauthorized")
    assert "foveal_" not in answer.text


async def test_an_address_that_a_proxy_passes_on_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = Settings(models=tmp_path, keys=write_keys(tmp_path / "keys.toml"))
    app = create_app(Engine(chosen), chosen)
    transport = httpx.ASGITransport(app, client=("a" * 60_000, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://foveal") as http:
        with caplog.at_level(logging.INFO, "foveal.audit"):
            assert (await http.get("/v1/models")).status_code == 401
    assert caplog.records[0].fields["address"] == "a" * 64  # type: ignore[attr-defined]


async def test_every_admin_call_and_every_refusal_has_a_line_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    http, _ = client_of(tmp_path)
    mistyped = "foveal_mistyped"
    async with http:
        with caplog.at_level(logging.INFO, "foveal"):
            await http.post("/v1/classify", headers={"X-API-Key": mistyped})
            await http.post("/v1/explain", headers=bearer("ada"))
            await http.post("/v1/admin/load", headers=bearer("root") | {"X-Request-ID": "mine"})
            await http.get("/v1/models", headers=bearer("ada"))
    audit = [one for one in caplog.records if one.name == "foveal.audit"]
    lines = [(one.getMessage(), one.fields["key"], one.fields["status"]) for one in audit]  # type: ignore[attr-defined]
    assert lines == [
        ("refused: unauthorized: POST /v1/classify", "", 401),
        ("refused: missing_scope: POST /v1/explain", "ada", 403),
        ("admin call: POST /v1/admin/load", "root", 404),
    ]
    assert audit[-1].fields["request_id"] == "mine"  # type: ignore[attr-defined]
    assert audit[-1].fields["address"] == "127.0.0.1"  # type: ignore[attr-defined]
    everything = repr([vars(one) for one in caplog.records])
    assert mistyped not in everything
    assert all(key_of(name) not in everything for name in KEYS)


@pytest.mark.parametrize("path", ["/v1/admin/load", "/v1/admin/x/y"])
async def test_without_keys_all_is_open_but_admin_calls(tmp_path: Path, path: str) -> None:
    http, _ = client_of(tmp_path, keys=False)
    async with http:
        assert (await http.get("/v1/models")).status_code == 200
        answer = await http.post(path, headers=bearer("root"))
    assert "FOVEAL_KEYS" in problem(answer, 401, "unauthorized")


async def test_a_key_that_is_taken_out_of_the_file_opens_nothing_within_a_second(
    tmp_path: Path,
) -> None:
    """With the ring's own clock; tests/service/test_keys.py moves it by hand."""
    path = write_keys(tmp_path / "keys.toml")
    http, _ = client_of(tmp_path)
    async with http:
        assert (await http.get("/v1/models", headers=bearer("ada"))).status_code == 200
        write_keys(path, {"bob": ["infer"]})
        async with asyncio.timeout(10):
            while (await http.get("/v1/models", headers=bearer("ada"))).status_code == 200:
                pass
        assert (await http.get("/v1/models", headers=bearer("bob"))).status_code == 200
