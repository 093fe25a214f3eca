"""The Compose file of docs/tracing.md against the project's own, its settings and its extras."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tracing.md").read_text()


def snippet() -> dict[str, Any]:
    (found,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    loaded: dict[str, Any] = yaml.safe_load(found)["services"]
    return loaded


def test_the_compose_file_builds_the_service_with_an_extra_that_exists() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert "foveal" in services
    assert "jaeger" not in services
    assert snippet()["foveal"]["build"]["args"]["EXTRAS"] in extras


def test_the_compose_file_sets_what_turns_tracing_on() -> None:
    environment = snippet()["foveal"]["environment"]
    own = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    fields = {name.removeprefix(PREFIX).lower(): value for name, value in own.items()}
    assert Settings.model_validate(fields).tracing
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://jaeger:")
