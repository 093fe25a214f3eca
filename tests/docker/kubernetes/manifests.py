"""The files of docker/k8s, as they lie there and as helm and kubectl make them."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings, read_settings
from tests.docker.files import ROOT, image_environment

K8S = ROOT / "docker/k8s"
CHART = K8S / "chart"
KUSTOMIZE = K8S / "kustomize"
ADAPTER = K8S / "prometheus-adapter.yaml"
TOOLS = ROOT / ".cache/kubernetes"

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of helm or kubectl: the one that `make tests` fetches, else the system's."""
    fetched = TOOLS / name
    found = str(fetched) if fetched.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: make {fetched.relative_to(ROOT)}")
    return found


def helm(*options: str, release: str = "foveal", namespace: str = "foveal") -> list[Manifest]:
    """Return what the chart makes with these options.

    Raises:
        ValueError: helm refuses; the message is what it says.
    """
    command = [tool("helm"), "template", release, str(CHART), f"--namespace={namespace}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def kustomize(folder: Path) -> list[Manifest]:
    """Return what `kubectl kustomize` makes of a folder."""
    command = [tool("kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def write_overlay(folder: Path, *components: str, **parts: object) -> Path:
    """Write a kustomization of the base and these components into the folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def path(part: str) -> str:
        return os.path.relpath((KUSTOMIZE / part).resolve(), folder.resolve())

    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [path("base")],
        "components": [path(f"components/{name}") for name in components],
        **parts,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return folder


def committed() -> dict[str, Manifest]:
    """Return the manifests that lie in the repository, by path; no tool is needed for them."""
    paths = [*KUSTOMIZE.rglob("*.yaml"), *(K8S / "kserve").glob("*.yaml")]
    return {
        str(path.relative_to(K8S)): yaml.safe_load(path.read_text())
        for path in sorted(paths)
        if path.name != "kustomization.yaml"
    }


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the containers of a Deployment or of a ServingRuntime."""
    spec = manifest["spec"]
    found: list[dict[str, Any]] = (spec["template"]["spec"] if "template" in spec else spec)[
        "containers"
    ]
    return found


def settings_of(variables: dict[str, str]) -> Settings:
    """Return the settings of a container of our image with these variables besides."""
    environment = {**image_environment(), **variables}
    options = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    return read_settings(environment, options)


def base_environment() -> dict[str, str]:
    """Return the variables that the Kustomize base gives the service."""
    text = (KUSTOMIZE / "base/settings.env").read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("env", ())}
