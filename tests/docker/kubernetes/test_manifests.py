"""The manifests of docker/k8s: the schemas know every field, and the service every name, path and port in them."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.processes.worker import end_seconds
from service.settings import PREFIX, Settings
from tests.docker.files import ROOT, RULES, project, read_yaml
from tests.docker.kubernetes.manifests import (
    ADAPTER,
    CHART,
    K8S,
    KUSTOMIZE,
    Manifest,
    base_environment,
    committed,
    containers,
    settings_of,
    variables_of,
)
from tests.docker.kubernetes.schemas import faults
from tests.docker.promql import faults as faults_of_query
from tests.docker.promql import known_series

MANIFESTS = committed()
DEPLOYMENT = MANIFESTS["kustomize/base/deployment.yaml"]
RUNTIME = MANIFESTS["kserve/serving-runtime.yaml"]
PODS = {"deployment": DEPLOYMENT, "runtime": RUNTIME}
SCRAPED = frozenset({"namespace", "pod", "service"})
"""Labels that the Prometheus operator gives every series of a ServiceMonitor, besides job and instance."""


def scaled_object() -> tuple[str, str]:
    """Return the query and the threshold of KEDA's Prometheus trigger."""
    manifest = MANIFESTS["kustomize/components/keda/scaledobject.yaml"]
    (parts,) = (t["metadata"] for t in manifest["spec"]["triggers"] if t["type"] == "prometheus")
    return parts["query"], parts["threshold"]


def adapter_rule() -> dict[str, Any]:
    rule: dict[str, Any]
    (rule,) = read_yaml(ADAPTER)["rules"]["custom"]
    return rule


def adapter_query(matchers: str) -> str:
    """Return the adapter's query as it fills it in when an autoscaler asks for pods."""
    filled = {"Series": "foveal_queue_depth", "LabelMatchers": matchers, "GroupBy": "pod"}
    query: str = adapter_rule()["metricsQuery"]
    for name, value in filled.items():
        query = query.replace(f"<<.{name}>>", value)
    assert "<<" not in query
    return query


@pytest.mark.parametrize("path", MANIFESTS)
def test_a_manifest_has_only_fields_of_its_schema(path: str) -> None:
    assert faults(MANIFESTS[path]) == []


@pytest.mark.parametrize("path", MANIFESTS)
def test_a_field_that_is_written_wrong_is_found(path: str) -> None:
    manifest = copy.deepcopy(MANIFESTS[path])
    deepest = manifest["spec"]
    while inner := [value for value in deepest.values() if isinstance(value, dict)]:
        named = [value for value in inner if not any("/" in name for name in value)]
        if not named:
            break
        deepest = named[0]
    deepest["notAField"] = {"at": 1}

    assert faults(manifest)


def test_every_setting_that_is_named_is_one() -> None:
    files = [path for path in K8S.rglob("*") if path.is_file()]
    texts = {path: path.read_text() for path in (*files, ROOT / "docs/kubernetes.md")}
    named = {
        (path.name, name)
        for path, text in texts.items()
        for name in re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]", text)
    }

    assert len({name for _, name in named}) > 5
    wrong = {
        (path, name)
        for path, name in named
        if name.removeprefix(PREFIX).lower() not in Settings.model_fields
    }
    assert wrong == set()


@pytest.mark.parametrize("name", PODS)
def test_the_service_can_start_with_what_a_pod_is_given(name: str) -> None:
    (container,) = containers(PODS[name])
    given = variables_of(container) | (base_environment() if name == "deployment" else {})
    settings = settings_of(given)
    probes = [container[key]["httpGet"]["port"] for key in container if key.endswith("Probe")]

    assert settings.host == "0.0.0.0"  # noqa: S104  kubelet and Service come from outside the pod
    (port,) = container["ports"]
    assert port["containerPort"] == settings.port
    assert set(probes) == {port.get("name", port["containerPort"])}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_right_that_the_service_does_not_need(name: str) -> None:
    (container,) = containers(PODS[name])
    pod = PODS[name]["spec"].get("template", PODS[name])["spec"]
    security = pod.get("securityContext", {}) | container["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/tmp"]  # noqa: S108  the container's own


def test_a_pod_is_given_longer_than_the_service_may_take_to_end() -> None:
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    readiness = containers(DEPLOYMENT)[0]["readinessProbe"]
    settings = settings_of(base_environment())
    predictor = MANIFESTS["kserve/inference-service.yaml"]["spec"]["predictor"]
    runtime = settings_of(variables_of(containers(RUNTIME)[0]))

    assert pod["terminationGracePeriodSeconds"] > end_seconds(settings)
    assert settings.grace_seconds > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert predictor["terminationGracePeriodSeconds"] > end_seconds(runtime)


@pytest.mark.parametrize(
    "pod",
    [
        DEPLOYMENT["spec"]["template"]["spec"],
        MANIFESTS["kserve/inference-service.yaml"]["spec"]["predictor"],
    ],
    ids=["deployment", "predictor"],
)
def test_a_pod_has_no_variables_of_services_and_its_process_is_not_the_first(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False
    assert pod["shareProcessNamespace"] is True


def test_all_selectors_find_the_pods_of_the_deployment() -> None:
    template = DEPLOYMENT["spec"]["template"]
    labels = template["metadata"]["labels"]
    service = MANIFESTS["kustomize/base/service.yaml"]
    ports = {port["name"] for port in containers(DEPLOYMENT)[0]["ports"]}

    def spec(path: str) -> dict[str, Any]:
        found: dict[str, Any] = MANIFESTS[f"kustomize/{path}.yaml"]["spec"]
        return found

    policy = spec("components/network-policy/networkpolicy")
    monitor = spec("components/monitoring/servicemonitor")
    selectors = [
        service["spec"]["selector"],
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        template["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        spec("base/poddisruptionbudget")["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
    ]

    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    names = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} == names


@pytest.mark.parametrize("name", ["hpa/horizontalpodautoscaler", "keda/scaledobject"])
def test_an_autoscaler_s_target_is_the_deployment(name: str) -> None:
    target = MANIFESTS[f"kustomize/components/{name}.yaml"]["spec"]["scaleTargetRef"]

    assert target == {
        "apiVersion": DEPLOYMENT["apiVersion"],
        "kind": DEPLOYMENT["kind"],
        "name": DEPLOYMENT["metadata"]["name"],
    }


def test_the_alerts_are_those_of_compose_and_name_the_job_that_the_monitor_makes() -> None:
    rule = MANIFESTS["kustomize/components/monitoring/prometheusrule.yaml"]
    monitor = MANIFESTS["kustomize/components/monitoring/servicemonitor.yaml"]
    labels = MANIFESTS["kustomize/base/service.yaml"]["metadata"]["labels"]
    jobs = set(re.findall(r'job="(\w+)"', RULES.read_text()))

    assert rule["spec"] == read_yaml(RULES)
    assert jobs == {labels[monitor["spec"]["jobLabel"]]}


@pytest.mark.parametrize("link", ["rules.yml", "foveal.json"])
def test_the_chart_has_no_copy_of_what_compose_has(link: str) -> None:
    path = CHART / "files" / link

    assert path.is_symlink()
    assert path.resolve().is_relative_to(ROOT / "docker")
    assert not path.resolve().is_relative_to(K8S)


def test_the_autoscalers_ask_for_a_series_of_the_service() -> None:
    series = {name: labels | SCRAPED for name, labels in known_series().items()}
    rule = adapter_rule()
    autoscaler = MANIFESTS["kustomize/components/hpa/horizontalpodautoscaler.yaml"]["spec"]
    (asked,) = (m["pods"]["metric"]["name"] for m in autoscaler["metrics"] if m["type"] == "Pods")

    for query in (rule["seriesQuery"], adapter_query('pod="a"'), scaled_object()[0]):
        assert faults_of_query(query, series) == []
    assert rule["name"] == {"as": asked}
    assert set(rule["resources"]["overrides"]) <= SCRAPED


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, Prometheus's own, is not here"
)
def test_a_queue_is_averaged_over_a_minute_and_added_up_over_models_and_pods(
    tmp_path: Path,
) -> None:
    def series(pod: str, model: str, namespace: str = "foveal") -> str:
        where = f'namespace="{namespace}",service="foveal",pod="{pod}"'
        return f'foveal_queue_depth{{{where},model="{model}"}}'

    values = {
        series("a", "cat"): "8x20",
        series("a", "dog"): "4x20",
        series("b", "cat"): "0+0x9 40 0+0x9",  # a moment is not a queue: it counts for a quarter
        series("b", "cat", "elsewhere"): "900x20",
    }
    of_pods = adapter_query('namespace="foveal",pod=~"a|b"')
    tests = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": k, "values": v} for k, v in values.items()],
                "promql_expr_test": [
                    {
                        "expr": of_pods,
                        "eval_time": "170s",
                        "exp_samples": [
                            {"labels": '{pod="a"}', "value": 12},
                            {"labels": '{pod="b"}', "value": 10},
                        ],
                    },
                    {
                        "expr": scaled_object()[0],
                        "eval_time": "170s",
                        "exp_samples": [{"labels": "{}", "value": 22}],
                    },
                ],
            }
        ],
    }
    (tmp_path / "queue.yml").write_text(yaml.safe_dump(tests))

    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "queue.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_our_own_image_and_chart_bear_the_version_of_the_project() -> None:
    version = project()["version"]
    chart = read_yaml(CHART / "Chart.yaml")
    gpu = read_yaml(KUSTOMIZE / "components/gpu/kustomization.yaml")
    texts = [path.read_text() for path in K8S.rglob("*.yaml")]
    texts.append((ROOT / "docs/kubernetes.md").read_text())

    assert chart["version"] == chart["appVersion"] == version
    assert {containers(pod)[0]["image"] for pod in PODS.values()} == {f"foveal:{version}"}
    assert read_yaml(CHART / "values-gpu.yaml")["image"] == {"tag": f"{version}-cuda"}
    assert gpu["images"] == [{"name": "foveal", "newTag": f"{version}-cuda"}]
    labels = "".join(re.findall(r"kubernetes\.io/version: .*", "".join(texts)))
    assert set(re.findall(r"\d+\.\d+\.\d+", labels)) == {version}
    assert set(re.findall(r"\bfoveal:(\d[\d.]*\d)", "".join(texts))) == {version}
