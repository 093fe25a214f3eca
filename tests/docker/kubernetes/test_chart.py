"""The chart as helm renders it, and the Kustomize bases, which say the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.processes.worker import end_seconds
from service.settings import read_settings
from tests.docker.files import DASHBOARDS, read_dashboard
from tests.docker.kubernetes.manifests import (
    CHART,
    K8S,
    KUSTOMIZE,
    Manifest,
    containers,
    helm,
    kustomize,
    one,
    settings_of,
    tool,
    variables_of,
    write_overlay,
)
from tests.docker.kubernetes.schemas import faults

ALL = ("--set=monitoring.enabled=true", "--set=networkPolicy.enabled=true")
SECRETS = (
    "--set=keys.secretName=foveal-keys",
    "--set=tls.secretName=foveal-tls",
    "--set=monitoring.authorization.secretName=foveal-metrics",
    "--set=models.persistentVolumeClaim.claimName=models",
    "--set=cache.persistentVolumeClaim.claimName=cache",
)
PLACEMENT = (
    "--set=imagePullSecrets[0].name=registry",
    "--set=podAnnotations.team=vision",
    "--set=nodeSelector.pool=gpu",
    "--set=affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution=null",
    "--set=service.annotations.team=vision",
    "--set=networkPolicy.from=null",
)
CASES: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "hpa": (*ALL, "--set=autoscaling.mode=hpa"),
    "keda": (*ALL, "--set=autoscaling.mode=keda"),
    "queue alone": ("--set=autoscaling.mode=keda", "--set=autoscaling.cpuPercent=0"),
    "secrets": (*ALL, *SECRETS),
    "gpu": (f"--values={CHART}/values-gpu.yaml",),
    "placement": (*ALL, *PLACEMENT),
}
COMPOSITIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "base": ((), ()),
    "hpa": (("hpa",), ("--set=autoscaling.mode=hpa",)),
    "keda": (("keda",), ("--set=autoscaling.mode=keda",)),
    "monitoring": (("monitoring",), ("--set=monitoring.enabled=true",)),
    "network-policy": (("network-policy",), ("--set=networkPolicy.enabled=true",)),
    "keys": (("keys",), ("--set=keys.secretName=foveal-keys",)),
    "gpu": (("gpu",), (f"--values={CHART}/values-gpu.yaml",)),
}
"""Components of Kustomize, and the values of the chart that mean the same."""


def ours(manifests: list[Manifest]) -> Manifest:
    """Return the settings' ConfigMap."""
    (found,) = (m for m in manifests if m["kind"] == "ConfigMap" and "foveal.json" not in m["data"])
    return found


def comparable(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Return manifests without what each tool adds so that a new setting restarts the pods."""
    name: str = ours(manifests)["metadata"]["name"]
    plain = json.loads(json.dumps(manifests).replace(f'"{name}"', '"foveal"'))
    for manifest in plain:
        manifest["metadata"].pop("namespace", None)
        if "foveal.json" in manifest.get("data", {}):
            manifest["data"]["foveal.json"] = json.loads(manifest["data"]["foveal.json"])
        if manifest["kind"] == "Deployment":
            template = manifest["spec"]["template"]
            annotations = template["metadata"].pop("annotations", {})
            assert annotations.keys() <= {"checksum/settings"}
            spec = template["spec"]
            spec["volumes"].sort(key=lambda volume: volume["name"])
            spec["containers"][0]["volumeMounts"].sort(key=lambda mount: mount["name"])
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in plain}


def test_helm_finds_nothing_to_improve() -> None:
    command = [tool("helm"), "lint", "--strict", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("case", CASES)
def test_what_the_chart_makes_has_only_fields_of_its_schemas(case: str) -> None:
    found = {m["kind"]: wrong for m in helm(*CASES[case]) if (wrong := faults(m))}

    assert found == {}


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_kustomize_and_helm_make_the_same(composition: str, tmp_path: Path) -> None:
    components, options = COMPOSITIONS[composition]
    by_kustomize = kustomize(write_overlay(tmp_path, *components))

    assert comparable(by_kustomize) == comparable(helm(*options))


def test_every_component_of_kustomize_is_compared() -> None:
    folders = {path.name for path in (KUSTOMIZE / "components").iterdir()}

    assert {name for components, _ in COMPOSITIONS.values() for name in components} == folders


def test_the_files_of_the_bases_are_made_from_the_chart(tmp_path: Path) -> None:
    command = [sys.executable, str(K8S / "render.py"), tool("helm"), str(tmp_path)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}

    assert made
    for path in made:
        new, old = ((folder / path).read_text() for folder in (tmp_path, KUSTOMIZE))
        if path.suffix == ".yaml":  # releases of helm differ in empty lines
            assert yaml.safe_load(new) == yaml.safe_load(old), f"{path}: make kubernetes"
        else:
            assert new == old, f"{path}: make kubernetes"


def test_the_overlay_s_namespace_reaches_the_query_of_keda(tmp_path: Path) -> None:
    example = yaml.safe_load((KUSTOMIZE / "overlays/production/kustomization.yaml").read_text())
    parts = {name: example[name] for name in ("images", "configMapGenerator", "replacements")}
    folder = write_overlay(tmp_path, "keda", namespace="elsewhere", **parts)

    query = one(kustomize(folder), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]

    assert re.findall(r'namespace="([^"]*)"', query) == ["elsewhere"]


def test_the_overlay_for_production_is_sound() -> None:
    manifests = kustomize(KUSTOMIZE / "overlays/production")
    kinds = {manifest["kind"] for manifest in manifests}

    assert {m["metadata"]["namespace"] for m in manifests} == {"foveal"}
    assert kinds > {"HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"}
    assert [wrong for manifest in manifests for wrong in faults(manifest)] == []
    assert settings_of(ours(manifests)["data"]).grace_seconds == 10


def test_the_dashboard_is_the_one_of_compose() -> None:
    manifests = helm(*ALL)
    (made,) = (m for m in manifests if "foveal.json" in m.get("data", {}))

    assert [read_dashboard(path) for path in DASHBOARDS] == [
        json.loads(made["data"]["foveal.json"])
    ]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"FOVEAL_GRACE_SECONDS": 0},
        {"FOVEAL_GRACE_SECONDS": "30", "FOVEAL_TIMEOUT_MS": "120000"},
        {"FOVEAL_GRACE_SECONDS": 7.5, "FOVEAL_TIMEOUT_MS": 300000},
        {"FOVEAL_TIMEOUT_MS": 1234.5},
        {"FOVEAL_TIMEOUT_MS": 3600000, "FOVEAL_MAX_TIMEOUT_MS": 3600000},
    ],
    ids=str,
)
def test_a_pod_is_given_longer_than_its_settings_let_the_service_take_to_end(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({"settings": settings}))
    manifests = helm(f"--values={tmp_path}/values.yaml")
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    longest = end_seconds(settings_of(ours(manifests)["data"]))

    assert longest < pod["terminationGracePeriodSeconds"] <= longest + 10


def test_settings_of_every_type_reach_the_service_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {
        "max_body_bytes": 268435456,  # helm reads numbers as floats: not 2.68435456e+08
        "max_video_bytes": 9007199254740991,
        "max_delay_ms": 0.5,
        "trial": True,
        "defaults": {"classify": "lenet5"},
        "cors_origins": ["https://app.example.org"],
        "rate_limit_per_key": "10/second; 5000/hour",
        "max_unfinished_bytes": "536870912",
    }
    values = {"settings": {f"FOVEAL_{name.upper()}": value for name, value in written.items()}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))

    for name, value in ours(helm(f"--values={tmp_path}/values.yaml"))["data"].items():
        monkeypatch.setenv(name, value)
    settings = read_settings(os.environ, {})

    assert {name: str(getattr(settings, name)) for name in written} == {
        name: str(value) for name, value in written.items()
    }


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--set=settings.FOVEAL_PORT=9000", "FOVEAL_PORT"),
        ("--set=settings.GRACE_SECONDS=1", "GRACE_SECONDS"),
        ("--set=settings.FOVEAL_HOST=127.0.0.1", "FOVEAL_HOST"),
        ("--set=settings.FOVEAL_GRACE_SECONDS=soon", "FOVEAL_GRACE_SECONDS"),
        ("--set=settings.FOVEAL_TIMEOUT_MS=-1", "FOVEAL_TIMEOUT_MS"),
        ("--set=tls.secretName=a/b", "secretName"),
        ("--set=autoscalling.mode=hpa", "autoscalling"),
        ("--set=autoscaling.mode=vpa", "autoscaling.mode"),
        ("--set=keys.secretNames=a", "secretNames"),
        ("--set=replicas=-1", "replicas"),
        ("--set=tmp.sizeLimit=256", "sizeLimit"),
        ("--set=image.repository=example.org/foveal:1", "repository"),
        ("--set=image.repository=example.org/foveal@sha256:00", "repository"),
        ("--set=image.tag=sha256:00", "tag"),
        ("--set=image.digest=00", "digest"),
        ("--set=fullnameOverride=Foveal_2", "fullnameOverride"),
        ("--set=nameOverride=-a", "nameOverride"),
        ("--set=nodeSelector.gpu=true", "nodeSelector"),
        ("--set=podAnnotations.count=1", "podAnnotations"),
        ("--set=service.annotations.internal=true", "annotations"),
        ("--set=autoscaling.mode=hpa,autoscaling.minReplicas=11", "autoscaling.minReplicas"),
        ("--set=autoscaling.mode=hpa,resources=null", "resources.requests.cpu"),
        ("--set=autoscaling.mode=keda,resources=null", "resources.requests.cpu"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_its_name(option: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        helm(option)


@pytest.mark.parametrize(
    ("release", "override", "name"),
    [
        ("1.2", "", "foveal-1-2"),
        ("vision.prod", "", "vision-prod-foveal"),
        ("2foveal", "", "foveal-2foveal"),
        ("x" * 51 + "-y", "", "x" * 51),
        ("a", "b" * 50 + "-c", "b" * 50 + "-c"),
    ],
)
def test_a_service_may_have_the_name_that_it_gets(release: str, override: str, name: str) -> None:
    """By RFC 1035: letters, digits and dashes, a letter first; the API server refuses all else."""
    options = (*CASES["keda"], f"--set=fullnameOverride={override}")
    manifests = helm(*options, release=release)
    assert one(manifests, "Service")["metadata"]["name"] == name
    for manifest in manifests:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])


def test_an_image_is_named_by_its_tag_or_by_its_digest() -> None:
    def image(*options: str) -> str:
        repository = "--set=image.repository=example.org:5000/vision/foveal"
        (container,) = containers(one(helm(repository, *options), "Deployment"))
        found: str = container["image"]
        return found

    digest = f"sha256:{'0a' * 32}"
    assert re.fullmatch(r"example\.org:5000/vision/foveal:\d+\.\d+\.\d+", image())
    assert image("--set-string=image.tag=2") == "example.org:5000/vision/foveal:2"
    pinned = image("--set-string=image.tag=2", f"--set=image.digest={digest}")
    assert pinned == f"example.org:5000/vision/foveal@{digest}"


def test_without_resources_an_autoscaler_goes_by_the_queue_alone() -> None:
    scaled = one(
        helm("--set=autoscaling.mode=hpa,autoscaling.cpuPercent=0,resources=null"),
        "HorizontalPodAutoscaler",
    )
    assert [metric["type"] for metric in scaled["spec"]["metrics"]] == ["Pods"]


def test_a_new_setting_restarts_the_pods() -> None:
    def annotations(*options: str) -> dict[str, str]:
        pod = one(helm(*options), "Deployment")["spec"]["template"]["metadata"]
        found: dict[str, str] = pod["annotations"]
        return found

    changed = "--set=settings.FOVEAL_QUEUE_SIZE=512"
    assert annotations() == annotations("--set=replicas=3")
    assert annotations() != annotations(changed)


def test_two_releases_in_a_namespace_share_nothing() -> None:
    one_release, other = (helm(*CASES["keda"], release=name) for name in ("foveal", "second"))
    names = [{(m["kind"], m["metadata"]["name"]) for m in found} for found in (one_release, other)]
    selectors = [one(found, "Service")["spec"]["selector"] for found in (one_release, other)]
    queries = [
        one(found, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
        for found in (one_release, other)
    ]

    assert names[0].isdisjoint(names[1])
    assert selectors[0] != selectors[1]
    assert 'service="foveal"' in queries[0]
    assert f'service="{one(other, "Service")["metadata"]["name"]}"' in queries[1]


@pytest.mark.parametrize("mode", ["hpa", "keda"])
def test_the_chart_leaves_the_number_of_pods_to_an_autoscaler(mode: str) -> None:
    assert one(helm(), "Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in one(helm(f"--set=autoscaling.mode={mode}"), "Deployment")["spec"]


def test_secrets_are_mounted_where_the_settings_say() -> None:
    deployment = one(helm(*CASES["secrets"]), "Deployment")
    (container,) = containers(deployment)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
    settings = settings_of(variables_of(container))

    assert settings.keys == Path(mounted["keys"]) / "keys.toml"
    assert settings.ssl_certfile == Path(mounted["tls"]) / "tls.crt"
    assert settings.ssl_keyfile == Path(mounted["tls"]) / "tls.key"
    assert settings.models == Path(mounted["models"])
    assert settings.cache == Path(mounted["cache"])
    assert volumes["keys"]["secret"] == {"secretName": "foveal-keys"}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "models"}


def test_probes_and_scrapes_speak_https_where_the_service_does() -> None:
    def schemes(*options: str) -> set[str]:
        manifests = helm(*options)
        (container,) = containers(one(manifests, "Deployment"))
        (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
        probes = {container[key]["httpGet"]["scheme"] for key in container if "Probe" in key}
        return {scheme.lower() for scheme in (*probes, endpoint.get("scheme", "http"))}

    assert schemes(*ALL) == {"http"}
    assert schemes(*CASES["secrets"]) == {"https"}
