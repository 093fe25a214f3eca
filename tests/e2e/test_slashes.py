"""A slash at the end of a path of the API changes nothing: clients and proxies append one."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.keys import write_keys
from tests.live import problem, serve
from tests.servables import write_servable

CAT = (Path(__file__).parents[1] / "data" / "cat.jpg").read_bytes()
FORM = {"files": {"file": ("cat.jpg", CAT)}}
JSON = {"json": {"images": [base64.b64encode(CAT).decode()]}}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    with serve(models=root) as live, httpx.Client(base_url=live.url) as client:
        yield client


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that has keys, and a client that has none."""
    root = tmp_path_factory.mktemp("locked")
    write_servable(root / "models")
    keys = write_keys(root / "keys.toml")
    with (
        serve(models=root / "models", keys=keys) as live,
        httpx.Client(base_url=live.url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/colors",
        "/v1/models/nothing",
        "/v1/classify",
        "/v1/nothing",
        "/health/live",
        "/health/ready",
        "/v2",
        "/v2/health/ready",
        "/v2/models/colors",
        "/v2/models/colors/versions/1/config",
        "/v2/nothing",
        "/kserve",
        "/kserve/v1/models",
        "/kserve/v1/models/colors",
        "/kserve/nothing",
        "/label-studio/health",
        "/label-studio/colors/health",
        "/x-anylabeling/health",
        "/x-anylabeling/v1/models",
        "/x-anylabeling/v1/models/colors/info",
        "/v1/models/colors/metadata",
        "/v1/vision/detection",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_is_answered_as_without(http: httpx.Client, method: str, path: str) -> None:
    plain, slashed = (
        http.request(method, path + end, headers={"X-Request-ID": "mine"}) for end in ("", "/")
    )
    assert slashed.status_code == plain.status_code
    assert slashed.content == plain.content
    assert slashed.headers["content-type"] == plain.headers["content-type"]
    assert slashed.headers.get("allow") == plain.headers.get("allow")


@pytest.mark.parametrize("body", [{"content": CAT}, FORM, JSON], ids=["image", "form", "json"])
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/"])
def test_bodies_arrive(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    answer = http.post(f"{path}?top_k=1", **body)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "colors"
    assert len(answer.json()["results"][0]["predictions"]) == 1


def test_tasks_with_it_are_counted_at_their_route(http: httpx.Client) -> None:
    http.post("/v1/embed/", content=CAT)
    counted = [
        line
        for line in http.get("/metrics/").text.splitlines()
        if line.startswith("foveal_requests_total") and "/v1/embed" in line
    ]
    assert len(counted) == 1
    assert 'route="/v1/embed"' in counted[0]


@pytest.mark.parametrize("path", ["//v1/classify", "/v1/classify//", "/v1//classify", "/v1/"])
def test_other_slashes_lead_nowhere(http: httpx.Client, path: str) -> None:
    answer = http.post(httpx.URL(str(http.base_url).rstrip("/") + path), content=CAT)
    assert path.rstrip("/") in problem(answer, 404, "not_found")


def test_files_of_the_page_have_none(http: httpx.Client) -> None:
    """Their relative links would lead elsewhere."""
    assert http.get("/playground/script/main.js").status_code == 200
    problem(http.get("/playground/script/main.js/"), 404, "not_found")


@pytest.mark.parametrize(
    "path", ["/v1/classify/", "/v1/models/", "/v1/explain/", "/v2/", "/metrics/"]
)
def test_no_key_is_spared(locked: httpx.Client, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 401
    assert locked.get("/health/ready/").status_code == 200
