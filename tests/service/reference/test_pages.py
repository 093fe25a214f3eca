"""Each row of a page of reference, against what the code says elsewhere."""

import re

import pytest
from typer.testing import CliRunner

from service.card import Card
from service.cli import cli
from service.errors import ConfigurationError, error_types
from service.metrics import Metrics
from service.reference.pages import PAGES
from service.settings import PREFIX, Settings


def rows_of(page: str) -> dict[str, list[str]]:
    """Return the cells of each row by the `code` in its first cell."""
    lines = [line for line in PAGES[page]().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_setting_has_its_default_and_range() -> None:
    rows = rows_of("settings")
    assert set(rows) == {PREFIX + name.upper() for name in Settings.model_fields}
    assert rows["FOVEAL_PORT"][:2] == ["`8000`", "0 to 65535"]
    assert rows["FOVEAL_TIMEOUT_MS"][:2] == ["`30000`", "above 0 to 3600000"]
    assert rows["FOVEAL_DEVICE"][1] == "`auto`, `cpu`, `openvino`, `cuda`, `tensorrt`"
    assert rows["FOVEAL_KEYS"][0] == ""  # none
    assert "](security.md#who-may-come-in)" in rows["FOVEAL_KEYS"][2]


def test_every_error_that_a_client_can_get_has_its_status() -> None:
    kinds = [kind for kind in error_types() if not issubclass(kind, ConfigurationError)]
    rows = rows_of("errors")
    assert set(rows) == {kind.code for kind in kinds}
    assert all(rows[kind.code][0] == str(kind.status) for kind in kinds)
    assert rows["internal_error"][1] == "An error of the service; the log has the request id."


def test_every_metric_has_its_type_and_labels() -> None:
    exposed = {family.name: family for family in Metrics().registry.collect()}
    rows = rows_of("metrics")
    ours = {name for name in exposed if name.startswith("foveal_")}
    assert {name.removesuffix("_total") for name in rows} == ours
    assert rows["foveal_requests_total"][:2] == ["counter", "`route`, `model`, `version`, `status`"]
    assert rows["foveal_stage_seconds"][:2] == ["histogram", "`model`, `version`, `stage`"]
    assert rows["foveal_model_runs_total"][:2] == ["counter", "`model`, `version`, `images`"]


def test_every_field_of_a_card_has_its_type_default_and_meaning() -> None:
    page = PAGES["card"]()
    rows = rows_of("card")
    assert set(Card.model_fields) <= set(rows)
    assert rows["precision"][:2] == ["`fp32`, `fp16`, `bf16`, `int8`", "`fp32`"]
    assert rows["certificate"][:2] == ["[certificate](#certificate)", "required"]
    assert rows["pad_color"][:2] == ["list of 3 integers", "`114, 114, 114`"]
    assert rows["by_label"][0] == "object of objects of numbers"
    assert rows["multi_label"][:2] == ["true or false", "`false`"]
    links = set(re.findall(r"\]\(#(\w+)\)", page))
    assert links == set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    assert [name for name, cells in rows.items() if cells[2] in {"", "."}] == [], "no meaning"


def test_the_command_prints_a_page() -> None:
    result = CliRunner().invoke(cli, ["reference", "errors"])
    assert result.exit_code == 0
    assert result.output.rstrip() == PAGES["errors"]().rstrip()


@pytest.mark.parametrize("name", ["nothing", "Errors"])
def test_a_page_that_does_not_exist_is_named_with_those_that_do(name: str) -> None:
    result = CliRunner().invoke(cli, ["reference", name])
    assert result.exit_code == 2
    assert "card, errors, metrics, settings, tasks" in " ".join(
        result.output.replace("│", " ").split()
    )
