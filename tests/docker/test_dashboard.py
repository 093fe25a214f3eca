"""Grafana: the dashboard draws only what `/metrics` has, from the data source that is provisioned."""

import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.files import DASHBOARDS, GRAFANA, compose, read_dashboard, read_yaml
from tests.docker.promql import faults, known_series, read_names
from tests.docker.promtool import needs_promtool, promtool

pytestmark = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_dashboard(path)["panels"]
    return found


def drawn(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each query with its panel."""
    for panel in panels(path):
        for target in panel.get("targets", ()):
            yield panel, target


def expressions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (where, PromQL) of every query: panels, annotations, variables."""
    for panel, target in drawn(path):
        yield panel["title"], target["expr"]
    dashboard = read_dashboard(path)
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        metric, label = re.fullmatch(
            r"label_values\((\w+), (\w+)\)", variable["definition"]
        ).groups()  # type: ignore[union-attr]
        yield variable["name"], f"sum by ({label}) ({metric})"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the process's own series")
def test_every_query_names_series_and_labels_that_exist(path: Path) -> None:
    series = known_series()

    found = {where: wrong for where, query in expressions(path) if (wrong := faults(query, series))}

    assert not found


@needs_promtool
def test_every_query_is_promql_by_prometheus_own_parser(path: Path, tmp_path: Path) -> None:
    """Grafana puts values in place of its variables; here they are ones of the same kind."""
    rules = tmp_path / "rules.yml"
    rules.write_text(
        yaml.safe_dump(
            {
                "groups": [
                    {
                        "name": "dashboard",
                        "rules": [
                            {"record": f"query:{number}", "expr": _filled_in(query)}
                            for number, (_, query) in enumerate(expressions(path))
                        ],
                    }
                ]
            }
        )
    )

    assert promtool("check", "rules", rules) == ""


def _filled_in(query: str) -> str:
    return re.sub(r"\$(?!__)\w+", ".+", query.replace("$__rate_interval", "1m"))


def test_every_legend_shows_labels_that_its_query_leaves(path: Path) -> None:
    series = known_series()
    for panel, target in drawn(path):
        names = read_names(target["expr"])
        left = names.grouped or set.union(
            {"instance", "job"},
            *(series.get(selector.metric, set()) for selector in names.selectors),
        )
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left, panel["title"]


def test_every_variable_that_is_used_is_defined_and_every_one_defined_is_used(path: Path) -> None:
    defined = {variable["name"] for variable in read_dashboard(path)["templating"]["list"]}

    used = {
        name
        for _, query in expressions(path)
        for name in re.findall(r"\$\{?(\w+)", query)
        if not name.startswith("__")
    }

    assert used == defined


def test_every_panel_reads_the_provisioned_source(path: Path) -> None:
    (source,) = read_yaml(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]

    for panel, target in drawn(path):
        assert (
            panel["datasource"]
            == target["datasource"]
            == {"type": source["type"], "uid": source["uid"]}
        )


def test_every_panel_says_what_it_shows(path: Path) -> None:
    for panel in panels(path):
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]


def test_panels_have_ids_of_their_own_and_lie_side_by_side(path: Path) -> None:
    places = [panel["gridPos"] for panel in panels(path)]
    ids = [panel["id"] for panel in panels(path)]

    assert len(set(ids)) == len(ids)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_grafana_finds_the_dashboard_and_opens_with_it(path: Path) -> None:
    grafana = compose()["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    (provider,) = read_yaml(GRAFANA / "provisioning/dashboards/foveal.yml")["providers"]

    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounts["./docker/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./docker/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert home == f"{provider['options']['path']}/{path.name}"
