"""Which scope each request needs, as the table of docs/security.md says it."""

import pytest

from service.api.guards.scopes import is_open, needed_scopes

INFER, EXPLAIN, ADMIN, METRICS = {"infer"}, {"explain"}, {"admin"}, {"metrics"}
ANY = {"infer", "explain", "admin"}


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/playground/", "/playground/main.js",
     "/docs/assets/swagger-ui.css", "/docs/guide", "/docs/guide/index.html", "/health/", "/health/later"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_the_pages_and_the_health_need_no_key(method: str, path: str) -> None:
    assert is_open(path)
    assert needed_scopes(method, path) == frozenset()


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("POST", "/v1/classify", INFER),
        ("GET", "/v1/classify", INFER),
        ("POST", "/v1/video", INFER),
        ("POST", "/v1/a_task_of_tomorrow", INFER),
        ("POST", "/v1/administer", INFER),
        ("POST", "/v1/explain", EXPLAIN),
        ("GET", "/v1/explain", EXPLAIN),
        ("GET", "/v1/models/colors/filters", EXPLAIN),
        ("GET", "/v1/models", ANY),
        ("HEAD", "/v1/models", ANY),
        ("GET", "/v1/models/", ANY),
        ("GET", "/v1/models/colors", ANY),
        ("GET", "/v1/models/colors/versions/3", ANY),
        ("GET", "/v1/models/a\nb", ANY),
        ("GET", "/v1/models/a/b/filters", ANY),
        ("POST", "/v1/models/colors:predict", INFER),
        ("POST", "/v1/models/colors/versions/3:predict", INFER),
        ("POST", "/kserve/v1/models/colors:predict", INFER),
        ("GET", "/v1/models/colors/metadata", ANY),
        ("GET", "/kserve/v1/models/colors", ANY),
        ("GET", "/kserve/", ANY),
        ("POST", "/v1/vision/detection", INFER),
        ("POST", "/v1/vision/custom/list", INFER),
        ("GET", "/label-studio/health", INFER),
        ("POST", "/label-studio/finder/predict", INFER),
        ("GET", "/x-anylabeling/v1/models", INFER),
        ("POST", "/x-anylabeling/v1/predict", INFER),
        ("GET", "/metrics", METRICS),
        ("POST", "/metrics", METRICS),
    ],
)
def test_a_path_needs_its_scope(method: str, path: str, scopes: set[str]) -> None:
    assert needed_scopes(method, path) == scopes
    assert not is_open(path)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/v1/models/colors", "/v1/models/a\nb",
                                  "/v1/models/colors/filters", "/v1/models/colors/versions/1",
                                  "/v1/models/colors/versions/x:predict", "/v1/models/a:predict/"])  # fmt: skip
def test_what_changes_a_model_needs_admin(method: str, path: str) -> None:
    assert needed_scopes(method, path) == ADMIN


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/admin", "/v1/admin/", "/v1/admin/load", "/v2/repository/", "/v2/repository/models/a/load", "/v2/models",
        "/nothing", "", "//v1/classify", "/v1", "/v1/", "/v1/classify/", "/v1/explain/", "/v1/a/b", "/V1/classify",
        "/metrics/", "/metricsx", "/x/metrics", "/doc", "/docs/", "/docs/asset", "/health", "/playground",
        "/openapi.json/", "/v1/modelsx/y", "/x/health/live", "/v1/admin\n/x",
        "/label-studiox/health", "/x-anylabelingx", "/kservex", "/v1/visionx/detection",
    ],
)  # fmt: skip
def test_every_other_path_needs_admin(method: str, path: str) -> None:
    assert needed_scopes(method, path) == ADMIN
    assert not is_open(path)
