"""Prometheus: it scrapes what Compose starts, and its alerts speak of series that exist."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from service.api.routes import operations
from service.app import protocols_of
from service.settings import Settings
from tests.docker.files import DASHBOARDS, PROMETHEUS, RULES, compose, image_environment, read_yaml
from tests.docker.promql import TARGET_LABELS, faults, known_series, read_names
from tests.docker.promtool import needs_promtool, promtool

RULE_TESTS = Path(__file__).with_name("rules_test.yml")


ALERTS: list[dict[str, Any]] = [
    rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]
]


def jobs() -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in read_yaml(PROMETHEUS)["scrape_configs"]}


def test_it_scrapes_the_name_and_port_that_compose_and_the_image_give_the_service() -> None:
    (discovery,) = jobs()["foveal"]["dns_sd_configs"]
    names = {
        name
        for service, parts in compose()["services"].items()
        for name in (service, *parts.get("networks", {}).get("default", {}).get("aliases", ()))
    }

    assert set(discovery["names"]) <= names
    assert discovery["port"] == int(image_environment()["FOVEAL_PORT"])


def test_it_scrapes_a_path_that_the_service_has() -> None:
    paths = {getattr(route, "path", None) for route in operations.router.routes}

    assert jobs()["foveal"]["metrics_path"] in paths


def test_its_rule_files_lie_beside_its_configuration_which_compose_mounts() -> None:
    prometheus = compose()["services"]["prometheus"]
    mounts = dict(mount.split(":")[:2] for mount in prometheus["volumes"])

    assert [PROMETHEUS.parent / name for name in read_yaml(PROMETHEUS)["rule_files"]] == [RULES]
    assert (
        f"--config.file={mounts['./docker/prometheus']}/{PROMETHEUS.name}" in prometheus["command"]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the process's own series")
@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_names_series_labels_and_jobs_that_exist(rule: dict[str, Any]) -> None:
    matchers = [m for selector in read_names(rule["expr"]).selectors for m in selector.matchers]

    assert faults(rule["expr"], known_series()) == []
    assert {m.value for m in matchers if m.label == "job"} <= set(jobs())


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_with_labels_that_it_has(rule: dict[str, Any]) -> None:
    names = read_names(rule["expr"])
    series = known_series()
    left = names.grouped or TARGET_LABELS.union(
        *(series.get(s.metric, ()) for s in names.selectors)
    )

    used = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))

    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(used) <= left


def test_the_queue_alert_fires_before_the_queue_is_full() -> None:
    (expression,) = (rule["expr"] for rule in ALERTS if rule["alert"] == "FovealQueueNearlyFull")
    share = float(expression.split(">")[1].split("*")[0])

    assert 0.5 <= share < 1
    assert expression.endswith("* foveal_queue_capacity")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_tried_with_series_that_fire_it_and_with_some_that_do_not(
    rule: dict[str, Any],
) -> None:
    expected = [
        bool(case["exp_alerts"])
        for test in read_yaml(RULE_TESTS)["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]

    assert set(expected) == {True, False}


NO_RESULTS = {
    "/v1/vision/custom/list",
    "/label-studio/setup",
    "/label-studio/webhook",
    "/label-studio/{model}/setup",
    "/label-studio/{model}/webhook",
}
"""What other programs post that runs no model."""


@pytest.mark.parametrize("alert", ["FovealErrors", "FovealSlow", "FovealOverloaded"])
def test_the_paths_of_other_programs_that_run_a_model_are_judged(alert: str) -> None:
    posted = {
        path
        for protocol in protocols_of(Settings())
        for path, endpoint in protocol.endpoints.items()
        if endpoint.method == "POST"
    }
    (expression,) = (rule["expr"] for rule in ALERTS if rule["alert"] == alert)
    patterns = re.findall(r'route=~"([^"]+)"', expression)

    judged = {path for path in posted for one in patterns if re.fullmatch(one, path)}

    assert posted - judged == NO_RESULTS


def test_the_alerts_and_the_dashboard_judge_the_same_paths() -> None:
    judged = {
        alert: set(re.findall(r'route=~"([^"]+predict[^"]*)"', rule["expr"]))
        for rule in ALERTS
        if (alert := rule["alert"]) in {"FovealErrors", "FovealOverloaded"}
    }
    drawn = {
        pattern
        for path in DASHBOARDS
        for pattern in re.findall(r'route=~\\"([^"]+predict[^"]*)\\"', path.read_text())
    }
    assert len(drawn) == 1
    assert judged == {"FovealErrors": drawn, "FovealOverloaded": drawn}


@needs_promtool
@pytest.mark.parametrize(
    "check",
    [("check", "config", PROMETHEUS), ("check", "rules", RULES), ("test", "rules", RULE_TESTS)],
    ids=["config", "rules", "behavior"],
)
def test_prometheus_own_tool_agrees(check: tuple[str, str, Path]) -> None:
    assert promtool(*check) == ""
