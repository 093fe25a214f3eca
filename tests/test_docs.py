"""What the README promises exists, and what exists is in the README."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.app import create_app
from service.engine import Engine
from service.errors import ConfigurationError, error_types
from service.metrics import Metrics
from service.runtime.device import DEVICES
from service.settings import PREFIX, Settings
from service.tasks.reference import reference
from service.tasks.tasks import TASKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rows_of(heading: str, until: str) -> dict[str, str]:
    """Return the table rows between two headings, by each `code` in their first cell."""
    part = README.split(heading, 1)[1].split(until, 1)[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return {name: line for line in rows for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def test_every_setting_is_documented_with_its_default() -> None:
    rows = rows_of("## Settings", "## Metrics")
    assert set(rows) == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = rows[PREFIX + name.upper()].split("|")[2].strip(" `")
        assert default == str(field.default), name


def test_every_device_is_documented() -> None:
    row = rows_of("## Settings", "## Metrics")[f"{PREFIX}DEVICE"]
    assert set(re.findall(r"`(\w+)`", row)) == {f"{PREFIX}DEVICE", "auto", *DEVICES}


def test_every_metric_is_documented_with_its_labels() -> None:
    rows = rows_of("## Metrics", "## Models")
    registry = Metrics().registry
    assert isinstance(registry, CollectorRegistry)
    found = {
        (family.name + "_total" if family.type == "counter" else family.name)
        for family in registry.collect()
        if family.name.startswith("foveal_")
    }
    assert set(rows) == found
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if metric._type == "counter" else "")  # noqa: SLF001
            documented = re.findall(r"`([^`]+)`", rows[name].split("|")[2])
            assert tuple(documented) == metric._labelnames, name  # noqa: SLF001


def test_every_error_code_is_documented_with_its_status() -> None:
    rows = rows_of("## How it works", "## Settings")
    kinds = [kind for kind in error_types() if not issubclass(kind, ConfigurationError)]
    assert set(rows) == {kind.code for kind in kinds}
    for kind in kinds:
        assert f"| {kind.status} |" in rows[kind.code], kind.code


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path)
    paths = set(create_app(Engine(settings), settings).fastapi.openapi()["paths"])
    documented = set(re.findall(r"`(?:GET|POST) (/[^`?]*)`", README))
    assert paths <= documented
    assert documented - paths == {"/", "/docs", "/openapi.json"}


def test_the_reference_of_the_tasks_is_made_from_them() -> None:
    written = (ROOT / "docs" / "tasks.md").read_text()
    assert written.rstrip() == reference(TASKS).rstrip(), "make reference writes it anew"


def test_ci_and_readme_name_the_same_test_command() -> None:
    assert "    make test " in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "models" / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
