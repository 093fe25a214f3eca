"""The deployment's files, read once for the tests beside this one."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/Dockerfile"
CONSTRAINTS = ROOT / "docker/constraints.txt"
PROMETHEUS = ROOT / "docker/prometheus/prometheus.yml"
RULES = ROOT / "docker/prometheus/rules.yml"
GRAFANA = ROOT / "docker/grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
GUIDE = ROOT / "docs/deploy.md"


def read_yaml(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def read_dashboard(path: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(path.read_text())
    return dashboard


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def compose() -> dict[str, Any]:
    """Return the compose file as Compose sees it where the host sets none of its variables."""
    text = (ROOT / "docker-compose.yml").read_text()
    document: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return document


def instructions(name: str) -> list[str]:
    """Return the arguments of each such instruction of the Dockerfile, continuation lines joined, comments dropped."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.+)$", joined, flags=re.MULTILINE)


def image_environment() -> dict[str, str]:
    """Return the FOVEAL_… variables that the image sets."""
    return dict(re.findall(r"\b(FOVEAL_\w+)=(\S+)", " ".join(instructions("ENV"))))
